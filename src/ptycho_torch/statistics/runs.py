"""What the table of a stage's runs (a row per arm and seed) says of an arm."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Interval, Spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, Score


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


@dataclass(frozen=True, kw_only=True)
class StageRuns:
    """A stage's runs, and what they show of its arms."""

    stage: StagePlan
    runs: pd.DataFrame
    """A row per run, in the order of arms and seeds; what is not defined is missing."""
    confidence: float = 0.95
    """Of every interval."""

    def runs_of(self, arm: str) -> pd.DataFrame:
        """Return the runs of an arm."""
        return self.runs[self.runs["arm"] == arm]

    def failed(self, arm: str) -> FailureRate:
        """Return how often an arm failed."""
        return failure_rate(self.runs, arm, self.confidence)

    def spread(self, arm: str, column: str) -> Spread:
        """Return median and quartiles of a column over the successful runs of an arm."""
        mine = self.runs_of(arm)
        return estimates.spread(mine.loc[~mine["failed"], column].astype(float))

    def medians(self, score: Score) -> dict[str, float]:
        """Return arm -> median of a score over its successful runs, where it has one."""
        found = {arm: self.spread(arm, score.column).median for arm in self.stage.arms}
        return {arm: value for arm, value in found.items() if value is not None}


def failure_rate(runs: pd.DataFrame, arm: str, confidence: float) -> FailureRate:
    """Return how often an arm of one run or more failed, with the interval of its rate.

    Clopper and Pearson (1934), Biometrika 26, 404, doi:10.1093/biomet/26.4.404.
    """
    failed = runs.loc[runs["arm"] == arm, "failed"]
    failures, n = int(failed.sum()), len(failed)
    ends = scipy.stats.binomtest(failures, n).proportion_ci(confidence, method="exact")
    return FailureRate(failures=failures, runs=n, interval=Interval(*map(float, ends)))


def composite_losses(runs: pd.DataFrame, constant_loss: float) -> "pd.Series[float]":
    """Return the composite loss of every run: min(last MAE validation loss, C), and C if the run
    failed or has none; C is the loss of the best constant object.

    Runs trained with another loss have the MAE of their best epoch alone, which takes its place.
    """
    is_mae = runs["val_loss_name"] == "mae_val_loss"
    loss = runs["last_val_loss"].where(is_mae, runs["best_mae_val_loss"]).astype(float)
    usable = ~runs["failed"].astype(bool) & np.isfinite(loss)
    return loss.where(usable, constant_loss).clip(upper=constant_loss)


def shown_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs to draw: of each arm the successful one of median SSIM (of two in the middle
    the lower), and one that failed, with a score if one has it. Arms keep the order of the table.
    """
    chosen, column = [], AMPLITUDE_SSIM.column
    for _, mine in runs.groupby("arm", sort=False):
        failed = mine["failed"].astype(bool)
        good = mine[~failed].dropna(subset=[column]).sort_values([column, "seed"])
        bad = mine[failed].sort_values(column, key=pd.isna, kind="stable")
        chosen += [good[(len(good) - 1) // 2 :][:1], bad[:1]]
    return pd.concat(chosen)
