"""Arms against each other: paired by seed where both succeeded, and by how often they failed.

A difference is supported only if its interval excludes the reference value and its
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
    """One arm against another in one number.

    score: column of the table of runs, or `failure_rate`; n: pairs of successful runs, or runs of
    the arm; estimate: arm minus other, mean of the pairs or difference of rates; interval: of the
    sign-flip test, none of rates; p: two-sided, sign-flip or Fisher's; p_holm: after Holm's
    correction for `family` comparisons; least_p: least that so many runs can give; state: what is
    supported about the arm; better: whether to its good, None if undecided; rates: of arm and
    other, None for a score; seeds: how many would decide it, None where it is decided or not
    requested.
    """

    arm: str
    other: str
    score: str
    label: str
    n: int
    estimate: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None
    least_p: float
    state: State
    better: bool | None
    reason: Reason
    family: int
    rates: tuple[FailureRate, FailureRate] | None = None
    seeds: SeedsNeeded | None = None


def others_of(arms: Sequence[str], arm: str) -> list[str]:
    """Return every other arm."""
    return [name for name in arms if name != arm]


def judge(
    difference: Difference, *, p_holm: float | None, confidence: float
) -> tuple[State, Reason]:
    """Return what paired differences support about the sign of their mean, and the reason.

    p_holm: the difference's p, corrected for the comparisons of its family.
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
    """Return the paired differences of one score of (arm, other) pairs, which are Holm's family."""
    found = []
    for arm, other in pairs:
        mine, theirs = paired_values(runs, arm, other, score.column)
        found.append(estimates.paired_difference(mine - theirs, settings))
    corrected = estimates.holm([difference.p for difference in found])
    comparisons = []
    for (arm, other), difference, p_holm in zip(pairs, found, corrected, strict=True):
        state, reason = judge(difference, p_holm=p_holm, confidence=settings.confidence)
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
                better=_better(state, score),
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
        state: State = "undecided"
        if p_holm is not None and p_holm <= estimates.level(settings.confidence) and estimate:
            state = "lower" if estimate < 0 else "higher"
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
                better=_better(state, FAILURE_RATE),
                reason="rates" if state == "undecided" else "supported",
                family=len(pairs),
                rates=(mine, theirs),
            )
        )
    return comparisons


def _better(state: State, score: Score) -> bool | None:
    return None if state == "undecided" else (state == "lower") == score.lower_is_better


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
