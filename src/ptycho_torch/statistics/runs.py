"""What the table of a stage's runs (a row per arm and seed) says of an arm."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Interval, Spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRate:
    """How many runs of an arm failed, with the exact (Clopper-Pearson) interval of the rate."""

    failures: int
    runs: int
    interval: Interval

    @property
    def rate(self) -> float:
        """Failures per run."""
        return self.failures / self.runs

    @property
    def pair(self) -> tuple[int, int]:
        """(failures, runs), as the tests take them."""
        return self.failures, self.runs


def failure_rate(runs: pd.DataFrame, arm: str, confidence: float) -> FailureRate:
    """Return how often an arm failed, with the interval of its rate."""
    failed = runs.loc[runs["arm"] == arm, "failed"]
    failures, n = int(failed.sum()), len(failed)
    interval = estimates.exact_interval(failures, n, confidence)
    return FailureRate(failures=failures, runs=n, interval=interval)


def composite_losses(runs: pd.DataFrame, constant_loss: float) -> "pd.Series[float]":
    """Return the composite loss of every run: min(last MAE validation loss, C), and C if the run
    failed or has none; C is the loss of the best constant object.

    Runs trained with another loss have the MAE of their best epoch alone, which takes its place.
    """
    is_mae = runs["val_loss_name"] == "mae_val_loss"
    loss = runs["last_val_loss"].where(is_mae, runs["best_mae_val_loss"]).astype(float)
    usable = ~runs["failed"].astype(bool) & np.isfinite(loss)
    return loss.where(usable, constant_loss).clip(upper=constant_loss)


def score_spread(runs: pd.DataFrame, arm: str, column: str) -> Spread:
    """Return median and quartiles of a score over the successful runs of an arm."""
    good = runs[(runs["arm"] == arm) & ~runs["failed"]]
    return estimates.spread(good[column].astype(float))


def shown_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs to draw: of each arm the successful one of median SSIM, and one that failed.

    With an even number the lower of the two in the middle is taken. Of the failed runs it is the
    first that has a score, else the first. Arms keep the order of the table.
    """
    chosen, column = [], AMPLITUDE_SSIM.column
    for _, mine in runs.groupby("arm", sort=False):
        failed = mine[mine["failed"].astype(bool)]
        good = mine.drop(failed.index).dropna(subset=[column]).sort_values([column, "seed"])
        if len(good):
            chosen.append(good.iloc[[(len(good) - 1) // 2]])
        scored = failed.dropna(subset=[column])
        if len(failed):
            chosen.append((scored if len(scored) else failed).iloc[[0]])
    return pd.concat(chosen) if chosen else runs.iloc[:0]
