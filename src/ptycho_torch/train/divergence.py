"""The divergence monitor: verdict on each step and record of all steps, kept on the device.

Nothing here waits for the device until `read`: each step writes a row, and a bad step raises the
flag `skip_update`, by which the optimiser leaves the weights as they were before that step and in
every step after it. So the Trainer may look only every few steps and still tell the exact step of
failure and keep the weights of the step before.
"""

import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ptycho_torch.config.training import TrainingSettings
from ptycho_torch.train.clip import ClipReport

logger = logging.getLogger(__name__)

READ_EVERY = 16
"""Steps between two looks at what the device has recorded."""

LOSS, BEFORE, AFTER, CLIPPED, SPECTRAL, LOCAL, _SPIKE, _STOP = range(8)
"""Columns of a row: loss, gradient norm before and after clipping, clipped parts, mean gradient
moduli of spectral and local weights (NaN where none were taken), verdict."""

_FINE, _BAD_LOSS, _EXPLODED, _BAD_GRADIENT = range(4)
"""Values of `_STOP`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run ended before its last epoch: a result, not an error.

    outcome: `non_finite`, `exploded` or `collapsed`; epoch and step count from 1.
    """

    outcome: str
    epoch: int
    step: int
    reason: str


class DivergenceMonitor(Callback):
    """Ends a run as `non_finite` or `exploded`, in the very step that went bad.

    Parameters
    ----------
    training
        `explode_factor` and `explode_patience_steps`.

    Attributes
    ----------
    failure
        Set by whichever guard ends the run.
    rows
        Of the epoch's steps in which the optimiser moved, as far as they have been read.
    steps, spikes, first_loss
        Of the whole run.
    parts
        That each step could clip.
    """

    def __init__(self, training: TrainingSettings) -> None:
        self.factor = training.explode_factor
        self.patience = training.explode_patience_steps
        self.failure: Failure | None = None
        self.rows: list[list[float]] = []
        self.first_loss: float | None = None
        self.spikes = self.steps = self.parts = 0
        self._per_epoch = 1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lay out the record where the steps are taken."""
        device = trainer.strategy.root_device
        self.skip_update = torch.zeros((), device=device)
        self._first = torch.full((), math.nan, device=device)
        self._in_a_row = torch.zeros((), device=device)
        # In double, which holds every count; Apple's GPUs have none.
        kind = torch.float32 if device.type == "mps" else torch.float64
        self._written = torch.zeros(READ_EVERY, 8, dtype=kind, device=device)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        self._absent = torch.full((), math.nan, device=device)

    def check_step(self, loss: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
        """Return spike and stop, for `log_step`, before the optimiser moves; from a bad step on
        `skip_update` is 1."""
        # Kept in place, so that a step recorded as a CUDA graph finds them where they were.
        self._first.copy_(torch.where(self._first.isnan(), loss, self._first))
        spike = loss > self.factor * self._first.abs()
        self._in_a_row.copy_(torch.where(spike, self._in_a_row + 1, 0.0))
        stop = torch.where(self._in_a_row >= self.patience, float(_EXPLODED), float(_FINE))
        bad_gradient = ~norm.isfinite() & (stop == _FINE)
        stop = torch.where(bad_gradient, float(_BAD_GRADIENT), stop)
        stop = torch.where(loss.isfinite(), stop, float(_BAD_LOSS))
        self.skip_update.copy_(torch.maximum(self.skip_update, (stop != _FINE).float()))
        return spike.float(), stop

    def log_step(
        self,
        loss: Tensor,
        norm: Tensor,
        report: ClipReport,
        verdict: tuple[Tensor, Tensor],
        moduli: Tensor | None,
    ) -> None:
        """Write a step's row: norm before clipping, verdict of `check_step`, mean moduli of
        spectral and local gradients if they were taken."""
        two = (self._absent, self._absent) if moduli is None else moduli.unbind()
        row = (loss, norm, report.norm, report.clipped, *two, *verdict)
        values = torch.stack([value.to(self._written.dtype) for value in row])
        self._written.index_copy_(0, self._at, values[None])
        self._at += 1
        self.parts = report.parts

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read the rows every few steps, and after the last of an epoch."""
        if (batch_idx + 1) % READ_EVERY == 0 or trainer.is_last_batch:
            self._per_epoch = int(trainer.num_training_batches)
            self.read(trainer)

    def read(self, trainer: Trainer) -> None:
        """Read the rows since the last look; end the run at a bad one. Waits for the device."""
        rows = self._written[: int(self._at)].tolist()
        self._at.zero_()
        for row in rows:
            loss, stop, step = row[LOSS], row[_STOP], self.steps + 1
            if stop == _BAD_LOSS:
                self.end_run(trainer, "non_finite", f"the training loss is {loss}", step)
                return
            if self.first_loss is None:
                self.first_loss = loss
            self.spikes += int(row[_SPIKE])
            if stop == _EXPLODED:
                reason = (
                    f"the training loss is {loss:.4g}, for {self.patience} steps in a row more "
                    f"than {self.factor:g} times the first step's {self.first_loss:.4g}"
                )
                self.end_run(trainer, "exploded", reason, step + 1 - self.patience)
                return
            if stop == _BAD_GRADIENT:
                reason = f"the gradient's norm is {row[BEFORE]}"
                self.end_run(trainer, "non_finite", reason, step)
                return
            self.rows.append(row)
            self.steps = step

    def end_run(self, trainer: Trainer, outcome: str, reason: str, step: int) -> None:
        """End the run as a result; `step` is the one that failed, counted from 1."""
        epoch = (step - 1) // self._per_epoch + 1
        self.failure = Failure(outcome, epoch, step, reason)
        trainer.should_stop = True
        logger.warning("%s in epoch %d, step %d: %s", outcome, epoch, step, reason)

    def state_dict(self) -> dict[str, Any]:
        """Return what later steps depend on, at an epoch's end."""
        counts = {"first_loss": self.first_loss, "spikes": self.spikes, "steps": self.steps}
        return {**counts, "first": self._first, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        for name in ("first_loss", "spikes", "steps"):
            setattr(self, name, state_dict[name])
        self._first.copy_(state_dict["first"])
        self._in_a_row.copy_(state_dict["in_a_row"])


def mean_over_processes(loss: Tensor) -> Tensor:
    """Return a step's loss, averaged over the processes that share it: all judge it alike."""
    loss = loss.detach()
    if torch.distributed.is_initialized():
        loss = loss.clone()
        torch.distributed.all_reduce(loss)
        loss /= torch.distributed.get_world_size()
    return loss
