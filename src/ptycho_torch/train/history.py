"""A row per epoch, the weights of the best and the last epoch, and progress in the log."""

import logging
import time
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from ptycho_torch.train.module import FitModule, StepRecords

logger = logging.getLogger(__name__)


class History(pl.Callback):
    """Collects what each finished epoch had.

    rows: as in `history.csv`; best: weights of the lowest validation loss, on the CPU;
    best_gain: the learned factor of the intensity scale in that epoch.
    """

    def __init__(self, epochs: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_row: dict[str, Any] | None = None
        self.best_gain = 1.0
        self.norms_before: list[float] = []
        self.parts = 0
        self.clipped = 0
        self._epochs = epochs
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Add the epoch's row; keep the weights if they are the best so far."""
        assert isinstance(module, FitModule)
        row = self._row(trainer, module)
        self.rows.append(row)
        self.collect_steps(module)
        name = module.val_loss_name
        if self.best_row is None or row[name] < self.best_row[name]:
            self.best_row, self.best = row, snapshot(module.network)
            self.best_gain = module.gain
        self._report(row, module)

    def collect_steps(self, module: FitModule) -> None:
        """Take over the step records of an epoch, finished or not, and begin anew."""
        self.norms_before += module.records.norms_before
        self.parts += module.records.parts
        self.clipped += module.records.clipped
        module.records = StepRecords()

    def _row(self, trainer: pl.Trainer, module: FitModule) -> dict[str, Any]:
        records = module.records
        before, after = np.array(records.norms_before), np.array(records.norms_after)
        return {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "learning_rate": records.learning_rate,
            f"{module.run.training.loss}_train_loss": float(np.mean(records.losses)),
            "mae_val_loss": float(trainer.callback_metrics["mae_val_loss"]),
            "poisson_val_loss": float(trainer.callback_metrics["poisson_val_loss"]),
            "grad_norm_median": float(np.median(before)),
            "grad_norm_p99": float(np.percentile(before, 99)),
            "grad_norm_max": float(before.max()),
            "clipped_grad_norm_median": float(np.median(after)),
            "clipped_grad_norm_max": float(after.max()),
            "clipped_share": records.clipped_share,
            "intensity_scale": module.scales["train"].intensity_scale * module.gain,
            "spectral_local_ratio": (
                float(np.median(records.gradient_ratios)) if records.gradient_ratios else None
            ),
        }

    def _report(self, row: dict[str, Any], module: FitModule) -> None:
        spent = time.monotonic() - self._started
        left = spent / row["epoch"] * (self._epochs - row["epoch"])
        logger.info(
            "epoch %d/%d: %s %.4f, %s %.4f, gradient norm %.3g, clipped %.0f %%, %.0f s, "
            "%.0f s left",
            row["epoch"], self._epochs,
            f"{module.run.training.loss}_train_loss", row[f"{module.run.training.loss}_train_loss"],
            module.val_loss_name, row[module.val_loss_name],
            row["grad_norm_median"], 100 * row["clipped_share"], spent, left,
        )  # fmt: skip


def snapshot(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights on the CPU, contiguous as safetensors wants them."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
