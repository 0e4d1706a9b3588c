"""Did each arm do what its hypothesis asks? In these runs; claims rest on `compare` alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.study import SuccessSettings
from ptycho_torch.statistics.runs import FailureRate, failure_rate, score_spread
from ptycho_torch.statistics.scores import Score

Status = Literal["met", "not met", "open", "not asked"]
"""In these runs; open: no run has the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition of one arm, and the numbers that it was judged by.

    condition: key of `SuccessSettings`, or `negative_control`, or `comparison` if none is set.
    """

    arm: str
    condition: str
    status: Status
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What conditions are judged by: the table of runs, their stage, and the loss to compare by."""

    runs: pd.DataFrame
    stage: StagePlan
    loss: Score
    confidence: float

    def failures(self, arm: str) -> FailureRate:
        """Return how often an arm failed."""
        return failure_rate(self.runs, arm, self.confidence)

    def median(self, arm: str, score: Score) -> float | None:
        """Return the median of a score over the successful runs of an arm."""
        return score_spread(self.runs, arm, score.column).median


def judge_arm(arm: str, success: SuccessSettings, evidence: Evidence) -> list[Verdict]:
    """Return a verdict per condition that is set; a control without one is judged as such."""
    arms, control = evidence.stage.arms, evidence.stage.control
    rates = {name: evidence.failures(name) for name in arms}
    medians = {name: evidence.median(name, evidence.loss) for name in arms}
    mine, its = rates[arm], rates[control]
    known = [value for value in medians.values() if value is not None]
    counts = {"rate": mine, "control": its, "other": control}
    judged: dict[str, tuple[bool | None, dict[str, Any]]] = {}
    if success.lowest_loss:
        median = medians[arm]
        lowest = None if median is None else median <= min(known)
        judged["lowest_loss"] = lowest, {"median": median, "medians": medians}
    if success.no_failures:
        judged["no_failures"] = not mine.failures, counts
    if success.lowest_failure_rate:
        judged["lowest_failure_rate"] = mine.rate <= min(r.rate for r in rates.values()), counts
    if success.fewer_failures_than_control:
        judged["fewer_failures_than_control"] = mine.rate < its.rate, counts
    if success.max_loss_increase is not None:
        judged["max_loss_increase"] = loss_within(arm, control, evidence, success.max_loss_increase)
    if not judged and arm == control:
        judged["negative_control"] = mine.failures > 0, counts
    verdicts = [
        Verdict(arm=arm, condition=condition, status=status_of(met), values=values)
        for condition, (met, values) in judged.items()
    ]
    return verdicts or [Verdict(arm=arm, condition="comparison", status="not asked", values={})]


def status_of(met: bool | None) -> Status:
    """Return a condition's status in these runs."""
    return "open" if met is None else "met" if met else "not met"


def loss_within(
    arm: str, other: str, evidence: Evidence, bound: float
) -> tuple[bool | None, dict[str, Any]]:
    """Return whether the median loss of successful runs is at most a fraction above another's."""
    mine, theirs = (evidence.median(name, evidence.loss) for name in (arm, other))
    ratio = None if mine is None or not theirs else mine / theirs
    values = {"ratio": ratio, "bound": 1 + bound, "other": other}
    return None if ratio is None else ratio <= 1 + bound, values
