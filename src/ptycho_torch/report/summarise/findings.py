"""What a stage's summary says, worked out; its template puts it into words."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import deep
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.study import Study
from ptycho_torch.report.collect import Collected
from ptycho_torch.report.summarise.sweep import Sweep
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.depth import gradient_bound
from ptycho_torch.statistics.estimates import Spread, SurvivalStep
from ptycho_torch.statistics.runs import FailureRate, failure_rate, score_spread
from ptycho_torch.statistics.scores import (
    AMPLITUDE_SSIM,
    BLOCK_NAMES,
    COMPLEX_ERROR,
    IMAGE_SCORES,
    LAST_LOSS,
    OUTCOMES,
    PHASE_SSIM,
    PHASE_SSIM_STITCHED,
    REASSEMBLED,
    RECONSTRUCTION_SCORES,
    TWIN_SHARE,
    Score,
)
from ptycho_torch.statistics.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that the summary says, worked out."""

    stage: StagePlan
    """Arms, control and seeds."""

    winner: str | None
    """Winner of Stage A, where the stage depends on it."""

    study: Study
    """The study."""

    collected: Collected
    """The runs."""

    loss: Score
    """The loss that arms are compared by."""

    comparisons: list[Comparison]
    """Paired differences to the control."""

    failure_tests: list[Comparison]
    """Failure rates against the control's."""

    verdicts: Mapping[str, list[Verdict]]
    """Per arm that is judged, a verdict per condition."""

    sweep: Sweep | None
    """How the results depend on the setting, where one is swept."""

    provenance: Mapping[str, Any]
    """Commit, command, versions and platform."""

    ssim = AMPLITUDE_SSIM
    phase = PHASE_SSIM
    phase_stitched = PHASE_SSIM_STITCHED
    complex_error = COMPLEX_ERROR

    @property
    def name(self) -> str:
        """Name of the stage, such as `stage_a`."""
        return self.stage.name

    @property
    def runs(self) -> pd.DataFrame:
        """The table of runs."""
        return self.collected.runs

    @property
    def confidence(self) -> float:
        """Level of every interval."""
        return self.study.statistics.confidence

    @property
    def main_scores(self) -> tuple[Score, ...]:
        """The loss and the scores that are compared."""
        return (self.loss, *RECONSTRUCTION_SCORES)

    @property
    def all_scores(self) -> tuple[Score, ...]:
        """The losses, every score of the best weights, and the share on the twin."""
        return (self.loss, LAST_LOSS, *IMAGE_SCORES, COMPLEX_ERROR, REASSEMBLED, TWIN_SHARE)

    @property
    def noise_floor(self) -> float | None:
        """Loss of the noise alone on the validation split; None: unknown."""
        return self.collected.dataset["splits"]["validation"].get("noise_floor")

    @property
    def failures(self) -> list[dict[Hashable, Any]]:
        """The failed runs."""
        return self.runs[self.runs["failed"]].to_dict("records")

    def runs_of(self, arm: str) -> pd.DataFrame:
        """Return the runs of an arm."""
        return self.runs[self.runs["arm"] == arm]

    def settings(self, arm: str) -> dict[str, Any]:
        """Return what the runs of an arm were trained with."""
        return self.collected.settings[arm]

    def deep(self, arm: str) -> str:
        """Return the name of an arm at Stage B's depth."""
        return deep(self.study, arm)

    def failed(self, arm: str) -> FailureRate:
        """Return how often an arm failed."""
        return failure_rate(self.runs, arm, self.confidence)

    def spread(self, arm: str, score: Score) -> Spread:
        """Return median and quartiles of a score over the successful runs of an arm."""
        return score_spread(self.runs, arm, score.column)

    def median(self, arm: str, column: str) -> float | None:
        """Return the median of a column over all runs of an arm, failed ones included."""
        return estimates.spread(self.runs_of(arm)[column].astype(float).tolist()).median

    def phase_change(self, arm: str) -> float | None:
        """Return the median change of the phase SSIM by synchronising, within a run."""
        mine = self.runs_of(arm)
        good = mine.loc[~mine["failed"], [PHASE_SSIM.column, PHASE_SSIM_STITCHED.column]]
        change = good.astype(float).iloc[:, 0] - good.astype(float).iloc[:, 1]
        return estimates.spread(change.tolist()).median

    def survival(self, arm: str) -> list[SurvivalStep]:
        """Return an arm's Kaplan-Meier curve of the time to failure, in epochs."""
        mine = self.runs_of(arm)
        failed = mine["failed"].astype(bool)
        return estimates.kaplan_meier(
            [int(epoch) for epoch in mine.loc[failed, "failure_epoch"]],
            [int(epoch) for epoch in mine.loc[~failed, "epochs"]],
            self.confidence,
        )

    def gradient_bound(self, shallow: str) -> float | None:
        """Return the bound on the gradient norm of a shallow arm's deep runs."""
        assert self.study.stage_b is not None
        return gradient_bound(self.runs, shallow, self.study.stage_b.gradient_factor)

    def outcomes(self, arm: str | None = None) -> dict[str, int]:
        """Return how many runs (of an arm) have each outcome that was seen."""
        counts = (self.runs if arm is None else self.runs_of(arm))["outcome"].value_counts()
        return {name: int(counts[name]) for name in OUTCOMES if name in counts}

    def distinct(self, column: str) -> list[str]:
        """Return the distinct values of a column, sorted."""
        return [str(value) for value in sorted(self.runs[column].unique())]

    def best_arms(self, score: Score) -> tuple[list[str], float | None]:
        """Return the arms of the best median score, and that median."""
        found = {arm: self.spread(arm, score).median for arm in self.stage.arms}
        known = [value for value in found.values() if value is not None]
        best = (min if score.lower_is_better else max)(known, default=None)
        return [arm for arm, value in found.items() if value == best is not None], best

    def failure_bounds(self) -> list[float]:
        """Return the upper bound of each arm's failure rate."""
        return [self.failed(arm).interval.high for arm in self.stage.arms]

    def sizes(self, arms: Sequence[str]) -> list[str]:
        """Return the distinct numbers of successful runs of these arms, sorted."""
        return [str(n) for n in sorted({self.spread(arm, self.loss).n for arm in arms})]

    def why_missing(self, arm: str, score: Score) -> str:
        """Return why no successful run of an arm has a score."""
        if score.name in self.collected.undefined:
            return self.collected.undefined[score.name]
        return (
            "no run succeeded" if self.runs_of(arm)["failed"].all() else "no successful run has it"
        )

    def why_no_baseline(self, name: str, score: Score) -> str:
        """Return why a baseline has not a score."""
        reasons, rpie = self.collected.reasons, self.collected.conventional
        if score.name not in BLOCK_NAMES:
            return "not scored for an image"
        if rpie is not None and name == rpie.name:
            return rpie.undefined.get(score.name, "no reason was recorded")
        found = reasons.get(f"{name}.{score.name}") or reasons.get(score.name)
        return found or "no reason was recorded"

    def configuration(self) -> Iterator[tuple[str, Any]]:
        """Yield key and value of the settings: of the first arm, and where the others differ."""
        study, arms = self.study, self.stage.arms
        first = flat(self.settings(arms[0]))
        for key, value in flat({"dataset": study.datasets[self.stage.dataset].published()}):
            yield f"`{key}`", value
        for key, value in first:
            if key.startswith(("generator.", "training.", "execution.")):
                yield f"`{key}`", value
        blocks = {"evaluation": study.evaluation, "statistics": study.statistics}
        for key, value in flat({name: block.published() for name, block in blocks.items()}):
            yield f"`{key}`", value
        for arm in arms[1:]:
            for key, value in flat(self.settings(arm)):
                if (key, value) not in first and key not in ("arm", "seed"):
                    yield f"`{arm}`: `{key}`", value


def flat(block: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Return (dotted key, value) of nested mappings."""
    pairs: list[tuple[str, Any]] = []
    for key, value in block.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{before}{key}.")
        else:
            pairs.append((f"{before}{key}", value))
    return pairs
