"""A row per epoch, the weights of the best epoch, and progress in the log and the loggers."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from ptycho_torch.train.divergence import DivergenceMonitor, StepRecords

logger = logging.getLogger(__name__)


class History(Callback):
    """Collects what each finished epoch had.

    Parameters
    ----------
    monitor
        Records the steps.

    Attributes
    ----------
    rows
        As in `history.csv`.
    best_row, best
        Row and weights (on the CPU) of the lowest validation loss; None before the first epoch.
    best_gain
        The learned factor of the intensity scale in that epoch.
    norms_before, parts, clipped
        Gradient norms of all steps, and what clipping did in them.
    """

    def __init__(self, monitor: DivergenceMonitor) -> None:
        self.monitor = monitor
        self.rows: list[dict[str, Any]] = []
        self.best_row: dict[str, Any] | None = None
        self.best: dict[str, Tensor] | None = None
        self.best_gain = 1.0
        self.norms_before: list[float] = []
        self.parts = 0
        self.clipped = 0
        self._started: tuple[float, int] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        self._started = time.monotonic(), len(self.rows)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a finished epoch's row; keep the weights if they are the best so far."""
        records, self.monitor.records = self.monitor.records, StepRecords()
        self.norms_before += records.norms_before
        self.parts += records.parts
        self.clipped += records.clipped
        if self.monitor.failure is not None:
            return
        row = self._row(pl_module, records)
        self.rows.append(row)
        name = pl_module.val_loss_name
        if self.best_row is None or row[name] < self.best_row[name]:
            self.best_row, self.best = row, snapshot(pl_module.network)
            self.best_gain = pl_module.gain
        self.log_dict({key: float(v) for key, v in row.items() if v is not None and key != "epoch"})
        self._report(row, trainer, pl_module)

    def _row(self, module: LightningModule, records: StepRecords) -> dict[str, Any]:
        before, after = np.array(records.norms_before), np.array(records.norms_after)
        ratios = records.gradient_ratios
        return {
            "epoch": len(self.rows) + 1,
            f"{module.run.training.loss}_train_loss": float(np.mean(records.losses)),
            "grad_norm_median": float(np.median(before)),
            "grad_norm_p99": float(np.percentile(before, 99)),
            "grad_norm_max": float(before.max()),
            "clipped_grad_norm_median": float(np.median(after)),
            "clipped_grad_norm_max": float(after.max()),
            "clipped_share": records.clipped / records.parts if records.parts else 0.0,
            "intensity_scale": module.scales["train"].intensity_scale * module.gain,
            "spectral_local_ratio": float(np.median(ratios)) if ratios else None,
            "step": self.monitor.steps,
            "learning_rate": module.learning_rate,
            **module.val_losses,
        }

    def _report(self, row: dict[str, Any], trainer: Trainer, module: LightningModule) -> None:
        assert self._started is not None and trainer.max_epochs is not None
        spent = time.monotonic() - self._started[0]
        left = spent / (row["epoch"] - self._started[1]) * (trainer.max_epochs - row["epoch"])
        name = f"{module.run.training.loss}_train_loss"
        logger.info(
            "seed %d, epoch %d/%d: %s %.4f, %s %.4f, gradient norm %.3g, clipped %.0f %%, %.0f s, "
            "%.0f s left",
            module.run.seed, row["epoch"], trainer.max_epochs, name, row[name],
            module.val_loss_name, row[module.val_loss_name],
            row["grad_norm_median"], 100 * row["clipped_share"], spent, left,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return everything collected so far."""
        names = ("rows", "best", "best_row", "best_gain", "norms_before", "parts", "clipped")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        vars(self).update(state_dict)


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights on the CPU, contiguous as safetensors wants them."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
