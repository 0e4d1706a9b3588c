"""A row per epoch, the weights of the best epoch, and progress in the log."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.train.module import FitModule
from ptycho_torch.train.watch import StepRecords

logger = logging.getLogger(__name__)


class History:
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
        self._taken_up = 0

    def state(self) -> dict[str, Any]:
        """Return everything collected so far."""
        return {
            "rows": list(self.rows),
            "best": self.best,
            "best_epoch": self.best_row and self.best_row["epoch"],
            "best_gain": self.best_gain,
            "norms_before": torch.tensor(self.norms_before, dtype=torch.float64),
            "parts": self.parts,
            "clipped": self.clipped,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.rows, self.best = list(state["rows"]), state["best"]
        epoch = state["best_epoch"]
        self.best_row = None if epoch is None else self.rows[epoch - 1]
        self.best_gain = state["best_gain"]
        self.norms_before = state["norms_before"].tolist()
        self.parts, self.clipped = state["parts"], state["clipped"]
        self._taken_up = len(self.rows)

    def add_epoch(
        self,
        module: FitModule,
        records: StepRecords,
        *,
        step: int,
        learning_rate: float,
        losses: Mapping[str, float],
    ) -> None:
        """Add a finished epoch's row; keep the weights if they are the best so far.

        Parameters
        ----------
        module
            As it is after the epoch.
        records
            Of the epoch's steps.
        step
            Steps taken since the run's beginning.
        learning_rate
            That the last step was taken with.
        losses
            Validation losses by name.
        """
        row = self._row(module, records) | {
            "step": step,
            "learning_rate": learning_rate,
            **losses,
        }
        self.rows.append(row)
        self.collect_steps(records)
        name = module.val_loss_name
        if self.best_row is None or row[name] < self.best_row[name]:
            self.best_row, self.best = row, snapshot(module.network)
            self.best_gain = module.gain
        self._report(row, module)

    def collect_steps(self, records: StepRecords) -> None:
        """Count the steps of an epoch, finished or not."""
        self.norms_before += records.norms_before
        self.parts += records.parts
        self.clipped += records.clipped

    def _row(self, module: FitModule, records: StepRecords) -> dict[str, Any]:
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
            "clipped_share": records.clipped_share,
            "intensity_scale": module.scales["train"].intensity_scale * module.gain,
            "spectral_local_ratio": float(np.median(ratios)) if ratios else None,
        }

    def _report(self, row: dict[str, Any], module: FitModule) -> None:
        spent = time.monotonic() - self._started
        here = row["epoch"] - self._taken_up
        left = spent / here * (self._epochs - row["epoch"])
        name = f"{module.run.training.loss}_train_loss"
        logger.info(
            "seed %d, epoch %d/%d: %s %.4f, %s %.4f, gradient norm %.3g, clipped %.0f %%, %.0f s, "
            "%.0f s left",
            module.run.seed, row["epoch"], self._epochs, name, row[name],
            module.val_loss_name, row[module.val_loss_name],
            row["grad_norm_median"], 100 * row["clipped_share"], spent, left,
        )  # fmt: skip


def snapshot(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights on the CPU, contiguous as safetensors wants them."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
