"""What looks at a training: guards that end a bad run as a result, in the very step or epoch that
went bad; and its history, a row per epoch, with the weights of the best.

Letters: B batch, C patches of a group, M probe modes, H rows, W columns.
"""

import logging
import math
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor

from ptycho_torch.config.training import TrainingSettings
from ptycho_torch.train.clip import ClipReport

logger = logging.getLogger(__name__)

READ_EVERY = 16
"""Steps between two looks at what the device has recorded."""

_TIMED = (6, 12)
"""Steps of the first epoch between which a run is timed, to say how long it will take."""


class Steps(NamedTuple):
    """Of a step, or of several: loss, gradient norm before and after clipping, parts and clipped
    parts, mean gradient moduli of spectral and local weights (NaN where none were taken), spikes in
    a row."""

    loss: Any
    before: Any
    after: Any
    parts: Any
    clipped: Any
    spectral: Any
    local: Any
    spikes: Any

    @property
    def clipped_share(self) -> float:
        """Share of the parts of several steps that was clipped."""
        return float(self.clipped.sum() / self.parts.sum()) if any(self.parts) else 0.0


@dataclass(frozen=True)
class Failure:
    """Why a run ended early: `non_finite`, `exploded` or `collapsed`; epoch and step from 1."""

    outcome: str
    epoch: int
    step: int
    reason: str


class Resumable(Callback):
    """A callback whose `kept` attributes are in the checkpoint."""

    kept: tuple[str, ...]

    def state_dict(self) -> dict[str, Any]:
        """Return what later epochs depend on."""
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        vars(self).update(state_dict)


class DivergenceMonitor(Resumable):
    """Judges and records each step on the device; ends a run as `non_finite` or `exploded`.

    Nothing waits for the device until `_read`: from a bad step on the flag `skip_update` makes the
    optimiser leave the weights as they are. So it is enough to look every few steps, and the exact
    step of failure is told all the same.

    failure: set by whichever guard ends the run; rows: of the run's good steps, as far as they
    have been read, each in the order of `Steps`.
    """

    kept = ("rows",)

    def __init__(self, training: TrainingSettings) -> None:
        self.factor = training.explode_factor
        self.patience = training.explode_patience_steps
        self.failure: Failure | None = None
        self.rows: list[list[float]] = []
        self._unread = 0

    @property
    def steps(self) -> int:
        """How many good steps the run has."""
        return len(self.rows)

    def table(self, first: int = 0) -> Steps:
        """Return the columns of the rows from `first` on."""
        return Steps(*np.array(self.rows[first:]).reshape(-1, len(Steps._fields)).T)

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Lay out the record where the steps are taken."""
        device = trainer.strategy.root_device
        self.skip_update = torch.zeros((), device=device)
        self._first = torch.full((), math.nan, device=device)
        self._in_a_row = torch.zeros((), device=device)
        self._recorded = torch.zeros(READ_EVERY, len(Steps._fields), device=device)

    def check_step(
        self, loss: Tensor, norm: Tensor, report: ClipReport, moduli: Tensor | None
    ) -> None:
        """Record a step before the optimiser moves; from a bad step on `skip_update` is 1. norm: of
        the gradient before clipping; moduli: `mean_moduli`, if they were taken."""
        # All state is kept in place, where a step recorded as a CUDA graph finds it.
        self._first.copy_(torch.where(self._first.isnan(), loss, self._first))
        self._in_a_row.add_(1).mul_(loss > self.factor * self._first.abs())
        parts, clipped = torch.full_like(loss, report.parts), report.clipped.float()
        both = loss.new_full((2,), math.nan) if moduli is None else moduli
        row = torch.stack((loss, norm, report.norm, parts, clipped, *both, self._in_a_row))
        # The last rows move up: to write at an index, a deterministic GPU would sort.
        self._recorded.copy_(torch.cat([self._recorded[1:], row[None]]))
        good = row[:2].isfinite().all() & (self._in_a_row < self.patience)
        self.skip_update.masked_fill_(~good, 1)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Read the rows every few steps, and after the last of an epoch."""
        self._unread += 1
        if self._unread == READ_EVERY or trainer.is_last_batch:
            self._read(trainer)

    def _read(self, trainer: Trainer) -> None:
        """Read the rows since the last look; end the run at a bad one. Waits for the device."""
        rows, self._unread = self._recorded[-self._unread :].tolist(), 0
        for row in rows:
            loss, norm, step = row[0], row[1], self.steps + 1
            if not math.isfinite(loss):
                self.end_run(trainer, "non_finite", f"the training loss is {loss}", step)
                return
            if Steps(*row).spikes >= self.patience:
                reason = (
                    f"the training loss is {loss:.4g}, for {self.patience} steps in a row more "
                    f"than {self.factor:g} times the first step's {self.rows[0][0]:.4g}"
                )
                self.end_run(trainer, "exploded", reason, step + 1 - self.patience)
                return
            if not math.isfinite(norm):
                self.end_run(trainer, "non_finite", f"the gradient's norm is {norm}", step)
                return
            self.rows.append(row)

    def end_run(self, trainer: Trainer, outcome: str, reason: str, step: int) -> None:
        """End the run as a result; `step` is the one that failed, counted from 1."""
        epoch = (step - 1) // int(trainer.num_training_batches) + 1
        self.failure = Failure(outcome, epoch, step, reason)
        trainer.should_stop = True
        logger.warning("%s in epoch %d, step %d: %s", outcome, epoch, step, reason)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume, also on the device."""
        super().load_state_dict(state_dict)
        self._first.fill_(Steps(*self.rows[0]).loss)
        self._in_a_row.fill_(Steps(*self.rows[-1]).spikes)


def illuminated_variance(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return each patch's variance about its mean over its mean square, (B, C), from 0, constant or
    zero everywhere, to 1. Pixels count by the probe's intensity; a global phase changes nothing."""
    light_HW = probe_MHW.abs().square().sum(dim=0)
    weight_HW, pixels = light_HW / light_HW.sum(), (-2, -1)
    mean = (patches_BCHW * weight_HW).sum(dim=pixels, keepdim=True)
    spread = ((patches_BCHW - mean).abs().square() * weight_HW).sum(dim=pixels)
    power = (patches_BCHW.abs().square() * weight_HW).sum(dim=pixels)
    return torch.where(power > 0, spread / power, torch.zeros_like(power))


class CollapseGuard(Resumable):
    """Ends a run as `collapsed` if no patch has had structure for some epochs in a row.

    Watched are the patches of the validation split, before any physics, where the probe illuminates
    them: in the dark the padding of convolutions draws borders whatever the network sees.
    docs/study.md has the margins.
    """

    kept = ("in_a_row",)

    def __init__(self, training: TrainingSettings, monitor: DivergenceMonitor) -> None:
        self.threshold = training.collapse_variance
        self.patience = training.collapse_patience_epochs
        self.monitor = monitor
        self.largest: Tensor | None = None
        self.in_a_row = 0

    def watch(self, patches_BCHW: Tensor, probe_MHW: Tensor) -> None:
        """Look at patches of the validation split; nothing waits for the device."""
        if self.threshold is not None:
            found = illuminated_variance(patches_BCHW, probe_MHW).max()
            self.largest = found if self.largest is None else found.maximum(self.largest)

    def on_validation_start(self, *_: Any) -> None:
        """Forget the epoch before."""
        self.largest = None

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        """Count epochs without structure; too many in a row end the run, from the first of them."""
        if self.monitor.failure is not None or self.threshold is None or self.largest is None:
            return
        largest = float(self.largest)
        # NaN is the business of the losses' own guard.
        self.in_a_row = self.in_a_row + 1 if largest < self.threshold else 0
        if self.in_a_row == self.patience:
            first = self.monitor.steps - (self.patience - 1) * int(trainer.num_training_batches)
            reason = (
                "all patches of the validation split are nearly constant: relative variance where "
                f"the probe illuminates them at most {largest:.3g}, under collapse_variance "
                f"{self.threshold:g}, for {self.patience} epochs in a row"
            )
            self.monitor.end_run(trainer, "collapsed", reason, first)


class History(Resumable):
    """Collects what each finished epoch had: `rows` as in `history.csv`, and `best`, the `Weights`
    of the lowest validation loss as a plain tuple."""

    kept = ("rows", "best")

    def __init__(self, monitor: DivergenceMonitor) -> None:
        self.monitor = monitor
        self.rows: list[dict[str, Any]] = []
        self.best: tuple[dict[str, Tensor], float] | None = None

    def on_train_start(self, *_: Any) -> None:
        """Take the time."""
        self._began = self._mark = time.monotonic()
        self._before = len(self.rows)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say once how long the run will take; the first steps, which warm up, do not count."""
        done = batch_idx + 1
        if len(self.rows) > self._before or done not in _TIMED:
            return
        float(self.monitor.skip_update)  # Waits for the device.
        elapsed, self._mark = time.monotonic() - self._mark, time.monotonic()
        if done == _TIMED[1]:
            epochs, steps = (trainer.max_epochs or 0) - self._before, trainer.num_training_batches
            seconds = elapsed / (done - _TIMED[0]) * steps * epochs
            about = timedelta(seconds=round(seconds))
            logger.info("%d epochs of %d steps: about %s h", epochs, steps, about)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Add a finished epoch's row; keep the weights if they are the best so far."""
        if self.monitor.failure is not None:
            return
        row, name = self._row(pl_module), pl_module.val_loss_name
        if all(row[name] < earlier[name] for earlier in self.rows):
            self.best = tuple(pl_module.snapshot())
        self.rows.append(row)
        values = {key: float(v) for key, v in row.items() if v is not None and key != "step"}
        for log in trainer.loggers:
            log.log_metrics(values, step=row["step"])
        spent = time.monotonic() - self._began
        loss, last = f"{pl_module.run.training.loss}_train_loss", trainer.max_epochs or 0
        logger.info(
            "seed %d, epoch %d/%d: %s %.4f, %s %.4f, gradient norm %.3g, clipped %.0f %%, %.0f s, "
            "%.0f s left",
            pl_module.run.seed, row["epoch"], last, loss, row[loss], name, row[name],
            row["grad_norm_median"], 100 * row["clipped_share"], spent,
            spent / (row["epoch"] - self._before) * (last - row["epoch"]),
        )  # fmt: skip

    def _row(self, module: Any) -> dict[str, Any]:
        before = self.rows[-1]["step"] if self.rows else 0
        steps = self.monitor.table(before)
        looked = steps.local > 0
        ratios = steps.spectral[looked] / steps.local[looked]
        return {
            "epoch": len(self.rows) + 1,
            "step": self.monitor.steps,
            "learning_rate": module.learning_rate,
            f"{module.run.training.loss}_train_loss": float(np.mean(steps.loss)),
            **module.val_losses,
            "grad_norm_median": float(np.median(steps.before)),
            "grad_norm_p99": float(np.percentile(steps.before, 99)),
            "grad_norm_max": float(steps.before.max()),
            "clipped_grad_norm_median": float(np.median(steps.after)),
            "clipped_grad_norm_max": float(steps.after.max()),
            "clipped_share": steps.clipped_share,
            "intensity_scale": module.scales["train"].intensity_scale * module.gain,
            "spectral_local_ratio": float(np.median(ratios)) if ratios.size else None,
        }
