"""Arms against each other: paired by seed where both succeeded, and by how often they failed.

A difference is supported only if its bootstrap interval excludes the reference value and its
exact test, corrected by Holm for the number of arms compared, reaches the level. Scores are not
corrected for one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Difference, Interval
from ptycho_torch.statistics.power import SeedsNeeded, seeds_for_difference, seeds_for_rates
from ptycho_torch.statistics.runs import FailureRate, failure_rate, paired_values
from ptycho_torch.statistics.scores import Score

FAILURE_RATE = Score("failure_rate", "failure rate", lower_is_better=True)
"""Stands for a score in comparisons of failure rates."""

State = Literal["lower", "higher", "undecided"]

Reason = Literal["supported", "no_pairs", "few_pairs", "interval", "p", "holm", "rates"]
"""Why a state is what it is: the first of the rule's tests that stopped it, or `supported`.

No seed or too few at which both runs succeeded; the interval includes 0; p is above the level
alone, or only after Holm's correction; the failure rates are not told apart.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm against another in one number."""

    arm: str
    """The arm."""

    other: str
    """What it is compared with."""

    score: str
    """Column of the table of runs, or `failure_rate`."""

    label: str
    """As printed."""

    n: int
    """Pairs of successful runs; for the failure rate, runs of the arm."""

    estimate: float | None
    """Arm minus other: mean of the paired differences, or difference of the rates."""

    interval: Interval | None
    """Bootstrap interval of the mean; none for the failure rate."""

    p: float | None
    """Two-sided: sign-flip test, or Fisher's exact test."""

    p_holm: float | None
    """`p` after Holm's correction for the arms compared."""

    least_p: float
    """Least p that so many runs can give."""

    state: State
    """What is supported about the arm."""

    better: bool | None
    """Whether that is to the arm's good; null if undecided."""

    reason: Reason
    """What decided, or what is missing."""

    family: int
    """Comparisons that Holm's correction counts."""

    rates: tuple[FailureRate, FailureRate] | None = None
    """Failure rates of arm and other; null for a score."""

    seeds: SeedsNeeded | None = None
    """How many seeds would decide it; null where it is decided, or not requested."""


def others_of(arms: Sequence[str], arm: str) -> list[str]:
    """Return every other arm."""
    return [name for name in arms if name != arm]


def judge(
    difference: Difference, *, p_holm: float | None, family: int, confidence: float
) -> tuple[State, Reason]:
    """Return what paired differences support about the sign of their mean, and the reason.

    Parameters
    ----------
    difference
        Mean of the pairs, its interval and p.
    p_holm
        Its p, corrected for `family` comparisons.
    family
        How many comparisons the correction counts.
    confidence
        1 minus it is the level.
    """
    alpha = estimates.level(confidence)
    interval, p = difference.interval, difference.p
    if difference.n == 0:
        return "undecided", "no_pairs"
    few = difference.n < estimates.pairs_needed(confidence)
    if few or interval is None or p is None or p_holm is None:
        return "undecided", "few_pairs"
    if interval.low <= 0 <= interval.high:
        return "undecided", "interval"
    if p > alpha:
        return "undecided", "p"
    if p_holm > alpha:
        return "undecided", "holm"
    return ("lower" if interval.high < 0 else "higher"), "supported"


def compare_score(
    runs: pd.DataFrame, pairs: Sequence[tuple[str, str]], score: Score, settings: StatisticsSettings
) -> list[Comparison]:
    """Return the paired differences of one score; Holm's family is `pairs`.

    Parameters
    ----------
    runs
        The table of runs.
    pairs
        (arm, other) for each comparison.
    score
        Which number, and which way is better.
    settings
        Confidence, and the bootstrap's resamples and seed.
    """
    found = []
    for arm, other in pairs:
        mine, theirs = paired_values(runs, arm, other, score.column)
        found.append(estimates.paired_difference(mine - theirs, settings))
    corrected = estimates.holm([difference.p for difference in found])
    comparisons = []
    for (arm, other), difference, p_holm in zip(pairs, found, corrected, strict=True):
        state, reason = judge(
            difference, p_holm=p_holm, family=len(pairs), confidence=settings.confidence
        )
        decided = state != "undecided"
        comparisons.append(
            Comparison(
                arm=arm,
                other=other,
                score=score.column,
                label=score.label,
                n=difference.n,
                estimate=difference.mean,
                interval=difference.interval,
                p=difference.p,
                p_holm=p_holm,
                least_p=estimates.least_sign_flip_p(difference.n),
                state=state,
                better=(state == "lower") == score.lower_is_better if decided else None,
                reason=reason,
                family=len(pairs),
            )
        )
    return comparisons


def compare_failures(
    runs: pd.DataFrame, pairs: Sequence[tuple[str, str]], settings: StatisticsSettings
) -> list[Comparison]:
    """Return Fisher's exact tests of failure rates; Holm's family is `pairs`."""
    rates = [
        (failure_rate(runs, a, settings.confidence), failure_rate(runs, b, settings.confidence))
        for a, b in pairs
    ]
    found = [estimates.fisher_p(mine.pair, theirs.pair) for mine, theirs in rates]
    corrected = estimates.holm(found)
    comparisons = []
    for (arm, other), (mine, theirs), p, p_holm in zip(pairs, rates, found, corrected, strict=True):
        estimate = mine.rate - theirs.rate
        low_p = p_holm is not None and p_holm <= estimates.level(settings.confidence)
        decided = low_p and estimate != 0
        state: State = "undecided" if not decided else "lower" if estimate < 0 else "higher"
        comparisons.append(
            Comparison(
                arm=arm,
                other=other,
                score=FAILURE_RATE.column,
                label=FAILURE_RATE.label,
                n=mine.runs,
                estimate=estimate,
                interval=None,
                p=p,
                p_holm=p_holm,
                least_p=estimates.least_fisher_p(mine.runs, theirs.runs),
                state=state,
                better=estimate < 0 if decided else None,
                reason="supported" if decided else "rates",
                family=len(pairs),
                rates=(mine, theirs),
            )
        )
    return comparisons


def with_seeds(item: Comparison, runs: pd.DataFrame, settings: StatisticsSettings) -> Comparison:
    """Return a comparison with the number of seeds that would decide it, if it is undecided.

    Apart from the comparison itself, since the simulations take longer than all its tests.
    """
    if item.better is not None:
        return item
    if item.rates is not None:
        mine, theirs = (rate.pair for rate in item.rates)
        seeds = seeds_for_rates(mine, theirs, family=item.family, settings=settings)
    else:
        a, b = paired_values(runs, item.arm, item.other, item.score)
        seeds = seeds_for_difference(a - b, family=item.family, settings=settings)
    return replace(item, seeds=seeds)
