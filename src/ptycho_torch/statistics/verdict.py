"""Did each arm do what its hypothesis asks? As far as the seeds can tell, and no further."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.study import SuccessSettings
from ptycho_torch.statistics.compare import (
    Comparison,
    Reason,
    State,
    compare_failures,
    compare_score,
    judge,
    others_of,
)
from ptycho_torch.statistics.estimates import Difference, Spread, paired_difference
from ptycho_torch.statistics.runs import FailureRate, failure_rate, paired_values, score_spread
from ptycho_torch.statistics.scores import Score

Status = Literal["met", "met in these runs", "not met", "undecided", "not asked"]
"""`met in these runs` says nothing of further runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundCheck:
    """A paired difference, or the logarithm of a paired ratio, held against a bound.

    other: what the arm is paired with; bound: largest ratio of the losses, or least difference of
    a score; reason: `interval` means that it includes the bound; seen: the difference or logarithm;
    excess: the same less its bound, which is what the test was made of.
    """

    other: str
    bound: float
    status: Status
    reason: Reason
    seen: Difference
    excess: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientCheck:
    """The gradient norm of deep runs, held against a multiple of the shallow arm's.

    bound: `gradient_bound`; epochs: that ended; largest: 99th percentile of an epoch; stopped: runs
    that ended in NaN or explosion; beyond: epochs beyond the bound, of `runs_beyond` runs.
    """

    shallow: str
    bound: float | None
    factor: float
    epochs: int
    largest: float | None
    stopped: int
    beyond: int
    runs_beyond: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """An arm against every other; medians: all losses, empty where failures are compared."""

    comparisons: tuple[Comparison, ...]
    medians: Mapping[str, Spread]


Basis = FailureRate | BoundCheck | GradientCheck | Ranking | Comparison | None
"""The numbers of a verdict; none: nothing was asked, or the control is held against itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition of one arm, and on which numbers it was judged.

    condition: key of `SuccessSettings`, or `negative_control`, or `comparison` if none is set.
    """

    arm: str
    condition: str
    status: Status
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What conditions are judged by: the table of runs, their stage, and the loss to compare by."""

    runs: pd.DataFrame
    stage: StagePlan
    loss: Score
    settings: StatisticsSettings

    def failures(self, arm: str) -> FailureRate:
        """Return how often an arm failed."""
        return failure_rate(self.runs, arm, self.settings.confidence)


def judge_arm(arm: str, success: SuccessSettings, evidence: Evidence) -> list[Verdict]:
    """Return a verdict per condition that is set; a control without one is judged as such."""
    judged: dict[str, tuple[Status, Basis]] = {
        condition: check(arm, evidence)
        for condition, check in _CHECKS.items()
        if getattr(success, condition)
    }
    if success.max_loss_increase is not None:
        control = evidence.stage.control
        check = loss_at_most(arm, control, evidence, success.max_loss_increase)
        judged["max_loss_increase"] = check.status, check
    if not judged and arm == evidence.stage.control:
        rate = evidence.failures(arm)
        # Where the control does not fail, no arm can be shown to fail less.
        judged["negative_control"] = "met in these runs" if rate.failures else "undecided", rate
    elif not judged:
        judged["comparison"] = "not asked", None
    return [
        Verdict(arm=arm, condition=condition, status=status, basis=basis)
        for condition, (status, basis) in judged.items()
    ]


def never_failed(arm: str, evidence: Evidence) -> tuple[Status, FailureRate]:
    """Judge by whether a run of the arm failed; the sample says nothing of further runs."""
    rate = evidence.failures(arm)
    return ("not met" if rate.failures else "met in these runs"), rate


def loss_at_most(arm: str, other: str, evidence: Evidence, bound: float) -> BoundCheck:
    """Judge the geometric mean of the paired ratios of losses, arm to other, against 1 + bound."""
    mine, theirs = paired_values(evidence.runs, arm, other, evidence.loss.column)
    usable = (mine > 0) & (theirs > 0)
    logs = np.log(mine[usable] / theirs[usable])
    seen, excess = (
        paired_difference(v, evidence.settings) for v in (logs, logs - math.log1p(bound))
    )
    return _bound_check(other, 1 + bound, seen, excess, evidence, good="lower")


def score_at_least(
    arm: str, other: str, evidence: Evidence, score: Score, decrease: float
) -> BoundCheck:
    """Judge the mean of the paired differences of a score, arm less other, against -decrease."""
    mine, theirs = paired_values(evidence.runs, arm, other, score.column)
    gain = mine - theirs
    seen, excess = (paired_difference(v, evidence.settings) for v in (gain, gain + decrease))
    return _bound_check(other, -decrease, seen, excess, evidence, good="higher")


def _bound_check(
    other: str,
    bound: float,
    seen: Difference,
    excess: Difference,
    evidence: Evidence,
    *,
    good: State,
) -> BoundCheck:
    side, reason = judge(excess, p_holm=excess.p, confidence=evidence.settings.confidence)
    status: Status = "undecided" if side == "undecided" else "met" if side == good else "not met"
    return BoundCheck(
        other=other, bound=bound, status=status, reason=reason, seen=seen, excess=excess
    )


def _fewer_failures_than_control(arm: str, evidence: Evidence) -> tuple[Status, Basis]:
    control = evidence.stage.control
    if arm == control:
        return "not met", None
    # The family is that of the table of failure rates, so that both say the same.
    family = [(name, control) for name in others_of(evidence.stage.arms, control)]
    tests = compare_failures(evidence.runs, family, evidence.settings)
    found = tests[family.index((arm, control))]
    return ("undecided" if found.better is None else "met" if found.better else "not met"), found


def _ranked(tests: list[Comparison]) -> Status:
    """Met if the arm is better than every other; not met if one of them is better."""
    if any(item.better is False for item in tests):
        return "not met"
    return "met" if tests and all(item.better for item in tests) else "undecided"


def _lowest_failure_rate(arm: str, evidence: Evidence) -> tuple[Status, Basis]:
    pairs = [(arm, other) for other in others_of(evidence.stage.arms, arm)]
    tests = compare_failures(evidence.runs, pairs, evidence.settings)
    return _ranked(tests), Ranking(comparisons=tuple(tests), medians={})


def _lowest_loss(arm: str, evidence: Evidence) -> tuple[Status, Basis]:
    others, runs, loss = others_of(evidence.stage.arms, arm), evidence.runs, evidence.loss
    tests = compare_score(runs, [(arm, other) for other in others], loss, evidence.settings)
    medians = {name: score_spread(runs, name, loss.column) for name in (arm, *others)}
    return _ranked(tests), Ranking(comparisons=tuple(tests), medians=medians)


_CHECKS: dict[str, Callable[[str, Evidence], tuple[Status, Basis]]] = {
    "lowest_loss": _lowest_loss,
    "no_failures": never_failed,
    "lowest_failure_rate": _lowest_failure_rate,
    "fewer_failures_than_control": _fewer_failures_than_control,
}
