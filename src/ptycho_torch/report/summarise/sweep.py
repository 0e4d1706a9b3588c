"""A sweep: does the result depend on the setting, and where do failures begin?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ptycho_torch.config.arms import varied_arms
from ptycho_torch.config.study import Study, value_text
from ptycho_torch.config.variants import Variant, numbers_of
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.trend import (
    Similarity,
    Trend,
    failure_trend,
    first_failing,
    loss_trend,
    similarity,
)
from ptycho_torch.statistics.verdict import Evidence

Similarities = Mapping[str, Similarity]
"""Arm -> whether it is told apart from the control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """How a stage's results depend on the setting that it varies."""

    variants: Mapping[str, Variant]
    """Arm -> what it varies, by rising value where values are numbers."""

    margin: float
    """Losses within this fraction of the control's are alike."""

    states: Similarities
    """Each value's arm beside the control."""

    first_failing: str | None
    """First arm with a failed run."""

    failures: int
    """Failed runs at all values."""

    runs: int
    """Runs at all values."""

    loss_trend: Trend | None
    """Of the loss along the values; None: these have no order."""

    failure_trend: Trend | None
    """Of the failures, in the same way."""

    @property
    def keys(self) -> list[str]:
        """What is varied."""
        return [key for key, _ in next(iter(self.variants.values())).changes]

    @property
    def about_clipping(self) -> bool:
        """Whether a clipping setting is varied."""
        return any(key.startswith("execution.clip.") for key in self.keys)

    def labels(self, states: Similarities) -> dict[str, list[str]]:
        """Return state -> labels of the values in it."""
        found: dict[str, list[str]] = {"same": [], "differs": [], "alike": [], "undecided": []}
        for arm, one in states.items():
            found[one.state].append(self.variants[arm].label())
        return found

    def labels_of(self, states: Similarities) -> list[str]:
        """Return the labels of the values."""
        return [self.variants[arm].label() for arm in states]

    def without_same(self, states: Similarities) -> Similarities:
        """Return the values at which the setting took effect."""
        return {arm: one for arm, one in states.items() if one.state != "same"}

    def rows(self, control: str) -> list[tuple[str, list[str]]]:
        """Return (arm, its values), the control first if it is not among them."""
        rows = [(a, [value_text(v) for _, v in w.changes]) for a, w in self.variants.items()]
        if control in self.variants:
            return rows
        return [(control, ["not varied"] * len(self.keys)), *rows]


def judge_sweep(study: Study, evidence: Evidence, comparisons: Sequence[Comparison]) -> Sweep:
    """Return how the results of a sweep depend on its setting.

    Parameters
    ----------
    study
        The study, which has the sweep.
    evidence
        The runs of the sweep.
    comparisons
        Those of the loss and of the failure rate.
    """
    stage = evidence.stage
    variants = {arm: variant for variant, arm in varied_arms(study, stage.name)}
    arms, margin = list(variants), study.sweeps[stage.name].alike_within
    runs = evidence.runs[evidence.runs["arm"].isin(arms)]
    failed = runs["failed"].astype(bool).tolist()
    has_order = bool(numbers_of(list(variants.values())))
    ranks = [float(arms.index(arm)) for arm in runs["arm"]]
    confidence = evidence.settings.confidence
    return Sweep(
        variants=variants,
        margin=margin,
        states={
            arm: similarity(arm, stage.control, comparisons, evidence, margin)
            for arm in arms
            if arm != stage.control
        },
        first_failing=first_failing(arms, runs),
        failures=sum(failed),
        runs=len(runs),
        loss_trend=loss_trend(arms, evidence) if has_order else None,
        failure_trend=failure_trend(ranks, failed, confidence=confidence) if has_order else None,
    )
