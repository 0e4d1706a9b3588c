"""A row per epoch, the weights of the best epoch, and progress in the log and the loggers."""

import logging
import time
from typing import Any

import numpy as np
from lightning import Trainer
from torch import Tensor

from ptycho_torch.runtime.markdown import duration
from ptycho_torch.train.guards import DivergenceMonitor, Resumable

logger = logging.getLogger(__name__)

_TIMED = (6, 12)
"""Steps of the first epoch between which a run is timed, to say how long it will take."""


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
            about = duration(elapsed / (done - _TIMED[0]) * steps * epochs)
            logger.info("%d epochs of %d steps: about %s", epochs, steps, about)

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
