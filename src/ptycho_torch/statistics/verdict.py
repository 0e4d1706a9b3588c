"""Did each arm do what its hypothesis asks? As far as the seeds can tell, and no further."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.study import SuccessSettings
from ptycho_torch.runtime.markdown import listed, number, percent, plain, plural
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import (
    compare_failures,
    compare_score,
    differences_of,
    judge,
    others_of,
)
from ptycho_torch.statistics.estimates import Interval
from ptycho_torch.statistics.runs import failures_of, paired_values, score_spread
from ptycho_torch.statistics.scores import Score

Status = Literal["met", "met in these runs", "not met", "undecided", "not asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition of one arm."""

    arm: str
    """The arm."""

    condition: str
    """Key of `SuccessSettings`, or `negative_control`, or `comparison` if nothing was asked."""

    status: Status
    """`met in these runs` says nothing of further runs."""

    sentence: str
    """Why, with numbers and n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What conditions are judged by."""

    runs: pd.DataFrame
    """The table of runs."""

    stage: StagePlan
    """Arms, control and seeds."""

    loss: Score
    """The loss that arms are compared by."""

    settings: StatisticsSettings
    """Confidence and bootstrap."""


def judge_arm(arm: str, success: SuccessSettings, evidence: Evidence) -> list[Verdict]:
    """Return a verdict per condition that is set; a control without one is judged as such.

    Parameters
    ----------
    arm
        Its name.
    success
        Conditions of its hypothesis.
    evidence
        All runs of the stage.
    """
    verdicts = []
    for condition, check in _CHECKS.items():
        if getattr(success, condition):
            status, sentence = check(arm, evidence)
            verdicts.append(Verdict(arm=arm, condition=condition, status=status, sentence=sentence))
    if success.max_loss_increase is not None:
        status, sentence = loss_at_most(
            arm, evidence.stage.control, evidence, success.max_loss_increase
        )
        verdicts.append(
            Verdict(arm=arm, condition="max_loss_increase", status=status, sentence=sentence)
        )
    if not verdicts:
        verdicts.append(
            _control(arm, evidence) if arm == evidence.stage.control else _bystander(arm)
        )
    return verdicts


def _control(arm: str, evidence: Evidence) -> Verdict:
    failures, n = failures_of(evidence.runs, arm)
    bounds = _bounds(failures, n, evidence.settings.confidence)
    seen = f"it failed in {failures} of {plural(n, 'run')} ({bounds})"
    if failures:
        return Verdict(
            arm=arm, condition="negative_control", status="met in these runs", sentence=seen
        )
    return Verdict(
        arm=arm,
        condition="negative_control",
        status="undecided",
        sentence=f"{seen}; where it does not fail, no arm can be shown to fail less",
    )


def _bystander(arm: str) -> Verdict:
    return Verdict(
        arm=arm,
        condition="comparison",
        status="not asked",
        sentence="no condition is set: the arm is there for comparison",
    )


def never_failed(arm: str, evidence: Evidence) -> tuple[Status, str]:
    """Judge by whether a run of the arm failed; the sample says nothing of further runs."""
    failures, n = failures_of(evidence.runs, arm)
    confidence = evidence.settings.confidence
    if failures:
        return (
            "not met",
            f"{failures} of {plural(n, 'run')} failed ({_bounds(failures, n, confidence)})",
        )
    bound = estimates.wilson_interval(0, n, confidence).high
    return "met in these runs", (
        f"no failure seen in {plural(n, 'run')}; the {percent(confidence)} Wilson upper bound is "
        f"{percent(bound)}, so whether it never fails is undecided"
    )


def _fewer_failures_than_control(arm: str, evidence: Evidence) -> tuple[Status, str]:
    stage = evidence.stage
    # The family is that of the table of failure rates, so that both say the same.
    family = [(name, stage.control) for name in others_of(stage, stage.control)]
    if (arm, stage.control) not in family:
        return "not met", "it is the control itself"
    found = compare_failures(evidence.runs, family, evidence.settings)[
        family.index((arm, stage.control))
    ]
    if found.better is None:
        return "undecided", found.why
    return ("met" if found.better else "not met"), found.why


def _lowest_failure_rate(arm: str, evidence: Evidence) -> tuple[Status, str]:
    runs, others = evidence.runs, others_of(evidence.stage, arm)
    if not others:
        return "undecided", "there is no other arm"
    found = compare_failures(runs, [(arm, other) for other in others], evidence.settings)
    worse = [item.other for item in found if item.better is False]
    if worse:
        return "not met", f"{listed(worse)} failed less often, beyond chance"
    if all(item.better for item in found):
        return "met", f"it failed less often than {listed(others)}, beyond chance"
    failures, n = failures_of(runs, arm)
    fewer = [other for other in others if _rate(runs, other) < failures / n]
    seen = f"{listed(fewer)} failed less often" if fewer else "no arm failed less often"
    open_ = listed([item.other for item in found if item.better is None])
    return "undecided", (
        f"{failures} of {plural(n, 'run')} failed, and {seen} in this sample; the rates are not "
        f"told apart from those of {open_}"
    )


def _lowest_loss(arm: str, evidence: Evidence) -> tuple[Status, str]:
    others = others_of(evidence.stage, arm)
    if not others:
        return "undecided", "there is no other arm"
    found = compare_score(
        evidence.runs, [(arm, other) for other in others], evidence.loss, evidence.settings
    )
    medians = {
        name: score_spread(evidence.runs, name, evidence.loss.column) for name in (arm, *others)
    }
    mine = medians[arm]
    if mine.median is None:
        return "undecided", "none of its runs succeeded, so it has no median loss"
    worse = [item.other for item in found if item.better is False]
    seen = f"its median is {number(mine.median)} (n = {mine.n})"
    if worse:
        return "not met", f"{seen}; {listed(worse)} reached a lower loss, beyond chance"
    if all(item.better for item in found):
        return "met", f"{seen}; lower than {listed(others)}, beyond chance"
    ranked = sorted((v.median, name) for name, v in medians.items() if v.median is not None)
    best, leader = ranked[0]
    place = "the lowest of this sample" if leader == arm else f"{leader} has {number(best)}"
    reasons = dict.fromkeys(item.why for item in found if item.better is None)
    groups = [
        f"{listed([item.other for item in found if item.why == why])} ({why})" for why in reasons
    ]
    return "undecided", f"{seen}, {place}; not told apart from {'; '.join(groups)}"


def loss_at_most(arm: str, other: str, evidence: Evidence, bound: float) -> tuple[Status, str]:
    """Judge the geometric mean of the paired ratios of losses, arm to other, against 1 + bound."""
    settings = evidence.settings
    mine, theirs = paired_values(evidence.runs, arm, other, evidence.loss.column)
    usable = (mine > 0) & (theirs > 0)
    logs = np.log(mine[usable] / theirs[usable])
    ratio = differences_of(logs, settings)
    limit = f"the bound is {plain(1 + bound)}"
    whose = "the control's" if other == evidence.stage.control else f"that of {other}"
    if ratio.mean is None:
        return "undecided", f"no seed at which both runs succeeded; {limit}"
    excess = differences_of(logs - math.log1p(bound), settings)
    state, why = judge(excess, p_holm=excess.p, family=1, confidence=settings.confidence)
    seen = (
        f"the loss is {number(math.exp(ratio.mean))} times {whose} "
        f"({_ratio_bounds(ratio.interval, settings.confidence)}, {plural(ratio.n, 'pair')}); "
        f"{limit}"
    )
    if state == "undecided":
        # `why` speaks of the logarithm's zero, which is the bound.
        return "undecided", f"{seen}; {_about_the_bound(why)}"
    return ("met" if state == "lower" else "not met"), seen


def _about_the_bound(why: str) -> str:
    return "the interval includes the bound" if why.endswith("includes 0") else why


def _ratio_bounds(interval: Interval | None, confidence: float) -> str:
    if interval is None:
        return "no interval from one pair"
    low, high = math.exp(interval.low), math.exp(interval.high)
    return f"{percent(confidence)} interval {number(low)} to {number(high)}"


def _bounds(failures: int, n: int, confidence: float) -> str:
    bounds = estimates.wilson_interval(failures, n, confidence)
    return f"{percent(confidence)} interval {percent(bounds.low)} to {percent(bounds.high)}"


def _rate(runs: pd.DataFrame, arm: str) -> float:
    failures, n = failures_of(runs, arm)
    return failures / n


_CHECKS: dict[str, Callable[[str, Evidence], tuple[Status, str]]] = {
    "lowest_loss": _lowest_loss,
    "no_failures": never_failed,
    "lowest_failure_rate": _lowest_failure_rate,
    "fewer_failures_than_control": _fewer_failures_than_control,
}
