"""The table of a stage's runs, a row per arm and seed: its scores, and what it says of an arm."""

from dataclasses import dataclass

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.statistics import estimates

OUTCOMES = ("completed", "non_finite", "exploded", "collapsed", "twin", "misfit", "stagnated")


@dataclass(frozen=True, slots=True)
class Score:
    """One number per run: its column of the table of runs, and how it is printed."""

    column: str
    label: str
    lower_is_better: bool = True
    by_ratio: bool = False
    """Whether runs are compared by its logarithms."""

    @property
    def name(self) -> str:
        """Name of the score within its block of `metrics.json`, if it is of one."""
        return self.column.removeprefix("best_")


LOSS = Score("best_mae_val_loss", "best validation loss (MAE)")
"""Of the epoch with the best loss, and MAE whatever loss a run was trained with."""
COMPOSITE = Score("composite_loss", "composite loss", by_ratio=True)
"""The last validation loss (MAE), and for a run that failed or did no better than the best constant
object that object's: a number that every run has, by which claims are made."""
AREA = Score("area", "mean loss over the rates")
TUNED = Score("tuned_loss", "composite loss at the arm's own best rate", by_ratio=True)
FAILURE_RATE = Score("failure_rate", "failure rate")

AMPLITUDE_SSIM = Score("best_amplitude_ssim", "amplitude SSIM", lower_is_better=False)
# The synchronised ones spread by 0.12 in SSIM and 0.040 in error from the number of threads alone,
# the stitched ones by 0.028 and 0.005.
PHASE_SSIM = Score("best_phase_ssim", "phase SSIM (as stitched)", lower_is_better=False)
COMPLEX_ERROR = Score("best_complex_error", "complex error (as stitched)")
MAIN_SCORES = (LOSS, AMPLITUDE_SSIM, PHASE_SSIM, COMPLEX_ERROR)
"""The headline."""


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

    def failed(self, arm: str) -> estimates.FailureRate:
        """Return how often an arm failed."""
        return estimates.failure_rate(self.runs, arm, self.confidence)

    def spread(self, arm: str, column: str) -> estimates.Spread:
        """Return median and quartiles of a column over the successful runs of an arm."""
        mine = self.runs_of(arm)
        return estimates.spread(mine.loc[~mine["failed"], column].astype(float))

    def medians(self, score: Score) -> dict[str, float]:
        """Return arm -> median of a score over its successful runs, where it has one."""
        found = {arm: self.spread(arm, score.column).median for arm in self.stage.arms}
        return {arm: value for arm, value in found.items() if value is not None}


def composite_losses(runs: pd.DataFrame, constant_loss: float) -> "pd.Series[float]":
    """Return the composite loss of every run: min(last MAE validation loss, C), and C if the run
    failed or has none; C is the loss of the best constant object.

    Runs trained with another loss have the MAE of their best epoch alone, which takes its place.
    """
    is_mae = runs["val_loss_name"] == "mae_val_loss"
    loss = runs["last_val_loss"].where(is_mae, runs["best_mae_val_loss"]).astype(float)
    return loss.mask(runs["failed"].astype(bool)).fillna(constant_loss).clip(upper=constant_loss)
