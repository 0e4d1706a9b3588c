"""What the runs of a stage left, as tables, figures and texts take it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import varied_arms
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.study import Study
from ptycho_torch.config.variants import Variant
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Spread, SurvivalStep
from ptycho_torch.statistics.runs import FailureRate, failure_rate, score_spread
from ptycho_torch.statistics.scores import BEST_MAE_LOSS, RECONSTRUCTION_SCORES, Score, loss_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A stage and everything that its runs left."""

    study: Study
    stage: StagePlan
    runs: pd.DataFrame
    """A row per run, in the order of arms and seeds; what is not defined is missing."""
    history: pd.DataFrame
    """A row per run and finished epoch."""
    settings: dict[str, dict[str, Any]]
    """Arm -> the settings that its runs were trained with, from `run.json`."""
    baselines: dict[str, dict[str, float | None]]
    """Scores of the `constant` image, the noise-free `truth`, the `conventional` reconstruction."""
    undefined: dict[str, str]
    """Scores that no run has -> reason."""
    dataset: dict[str, Any]
    reconstructions: dict[tuple[str, int], Path]
    """(arm, seed) -> file to draw from."""
    conventional: dict[str, Any] | None
    """rPIE on the same test split; None: the study has none."""

    @property
    def loss(self) -> Score:
        """The loss whose medians are shown."""
        return loss_score(self.runs["val_loss_name"].tolist())

    @property
    def main_scores(self) -> tuple[Score, ...]:
        """The loss and the headline scores."""
        return (self.loss, *RECONSTRUCTION_SCORES)

    @property
    def noise_floor(self) -> float | None:
        """Loss of the noise alone on the validation split; None: unknown."""
        return self.dataset["splits"]["validation"].get("noise_floor")

    @property
    def constant_loss(self) -> float:
        """Loss of the best constant object on the validation split."""
        return float(self.dataset["splits"]["validation"]["constant_loss"])

    @property
    def is_mae(self) -> bool:
        """Whether that loss is the MAE."""
        is_mae = (self.runs["val_loss_name"] == "mae_val_loss").all()
        return bool(is_mae) or self.loss is BEST_MAE_LOSS

    @property
    def variants(self) -> dict[str, Variant]:
        """Arm -> what a sweep varies of it, in the order of values; empty: no sweep."""
        if self.stage.name not in self.study.sweeps:
            return {}
        return {arm: variant for variant, arm in varied_arms(self.study, self.stage.name)}

    @property
    def still_improving(self) -> tuple[int, int]:
        """Successful runs whose last epoch is their best, and all successful ones."""
        good = self.runs[~self.runs["failed"].astype(bool)]
        return int((good["best_epoch"] == good["epochs"]).sum()), len(good)

    def runs_of(self, arm: str) -> pd.DataFrame:
        """Return the runs of an arm."""
        return self.runs[self.runs["arm"] == arm]

    def failed(self, arm: str) -> FailureRate:
        """Return how often an arm failed."""
        return failure_rate(self.runs, arm, self.study.statistics.confidence)

    def spread(self, arm: str, score: Score) -> Spread:
        """Return median and quartiles of a score over the successful runs of an arm."""
        return score_spread(self.runs, arm, score.column)

    def median(self, arm: str, column: str) -> float | None:
        """Return the median of a column over all runs of an arm, failed ones included."""
        return estimates.spread(self.runs_of(arm)[column].astype(float)).median

    def medians(self, score: Score) -> dict[str, float]:
        """Return arm -> median of a score over its successful runs, where it has one."""
        found = {arm: self.spread(arm, score).median for arm in self.stage.arms}
        return {arm: value for arm, value in found.items() if value is not None}

    def survival(self, arm: str) -> list[SurvivalStep]:
        """Return an arm's Kaplan-Meier curve of the time to failure, in epochs."""
        mine = self.runs_of(arm)
        failed = mine["failed"].astype(bool)
        return estimates.kaplan_meier(
            mine.loc[failed, "failure_epoch"].astype(int).tolist(),
            mine.loc[~failed, "epochs"].astype(int).tolist(),
            self.study.statistics.confidence,
        )
