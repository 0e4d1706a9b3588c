"""Arms against each other: by the composite loss, which claims rest on, by failures, by scores.

A claim is a comparison of a stage's primary family whose p, corrected by Holm, is at most the
stage's level. All other comparisons are exploratory: they have estimates and intervals, no state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Difference, FailureRate, failure_rate, finite
from ptycho_torch.statistics.runs import COMPOSITE, FAILURE_RATE, Score

Pairs = Sequence[tuple[str, str]]
LEAST_RUNS = 6
"""Runs of each arm below which no forecast is made: the spread of fewer says too little."""


class SeedsNeeded(NamedTuple):
    """Seeds per arm that would decide a comparison; None: more than `most_seeds`.

    low, high: if the true difference were the observed one and the quarter of its standard error's
    distribution more or less: as likely as not the number lies between; of_interest: if it were the
    `effect_of_interest`.
    """

    low: int | None
    high: int | None
    of_interest: int | None


@dataclass(frozen=True, kw_only=True)
class Comparison(Difference):
    """One arm against another in one number.

    n: pairs, or runs of the arm with fewer; mean: arm minus other, of losses the difference of the
    logarithms; interval: of the test, none of rates; p_holm: after Holm's correction for `family`
    comparisons, of a primary comparison; level: None if exploratory; state: what is claimed of the
    arm, and lower is better of all that is claimed; rates: of arm and other, None for a score;
    seeds: how many would decide it, where that can be said.
    """

    arm: str
    other: str
    score: Score
    family: int = 1
    p_holm: float | None = None
    level: float | None = None
    state: Literal["lower", "higher", "undecided"] = "undecided"
    rates: tuple[FailureRate, FailureRate] | None = None
    seeds: SeedsNeeded | None = None


def claim_level(stage: StagePlan) -> float | None:
    """Return the level of each planned look, which together keep the stage's; None: no claims."""
    if stage.level is None or not stage.planned:
        return stage.level
    family = max(len(stage.primary), 1)
    # At Holm's hardest step a comparison has this part of the level, at every look.
    return family * look_level(stage.level / family, stage.planned)


@lru_cache(maxsize=32)
def look_level(level: float, looks: tuple[int, ...]) -> float:
    """Return the level of each look, the same for all, at so many seeds.

    The test statistics of the looks are as good as jointly normal, with correlation sqrt(n / m)
    between looks at n and m seeds.
    Pocock (1977), Biometrika 64, 191, doi:10.1093/biomet/64.2.191: 0.0182 for four at 5 %.
    """
    n = np.asarray(looks, np.float64)
    correlation = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))
    joint = scipy.stats.multivariate_normal(
        cov=correlation, abseps=1e-6, releps=1e-6, maxpts=200_000, seed=0
    )

    def excess(one: float) -> float:
        edge = np.full(n.size, scipy.stats.norm.isf(one / 2))
        return 1 - float(joint.cdf(edge, lower_limit=-edge)) - level

    return float(scipy.optimize.brentq(excess, level / n.size, level, xtol=1e-6))


def values_of(runs: pd.DataFrame, arm: str, score: Score) -> NDArray[np.float64]:
    """Return a score of all runs of an arm, its logarithms if it is compared by ratio."""
    values = runs.loc[runs["arm"] == arm, score.column].to_numpy(np.float64)
    return np.log(np.maximum(values, np.finfo(np.float64).tiny)) if score.by_ratio else values


def compare_losses(
    runs: pd.DataFrame,
    pairs: Pairs,
    settings: StatisticsSettings,
    level: float | None = None,
    score: Score = COMPOSITE,
) -> list[Comparison]:
    """Return the two-sample comparisons of a score that every run has.

    level: that of the family `pairs`; None: exploratory. Where planned looks ended one arm earlier,
    both are compared as they were then.
    """
    samples = []
    for pair in pairs:
        mine, theirs = (values_of(runs, arm, score) for arm in pair)
        both = min(mine.size, theirs.size)
        samples.append((mine[:both], theirs[:both]))
    tests = [estimates.sample_difference(*both, settings) for both in samples]
    corrected, part = estimates.holm([test.p for test in tests]), settings.effect_of_interest
    found = []
    for (arm, other), (mine, theirs), test, p in zip(pairs, samples, tests, corrected, strict=True):
        item: dict[str, Any] = {"arm": arm, "other": other, "score": score, "family": len(pairs)}
        if level is not None:
            # What a comparison of a primary family claims, or what would decide it.
            item |= {"p_holm": p, "level": level}
            if p <= level and test.mean:
                item["state"] = "lower" if test.mean < 0 else "higher"
            else:
                interest = math.log1p(part) if score.by_ratio else part * float(theirs.mean())
                item["seeds"] = seeds_needed(mine, theirs, interest, level / len(pairs), settings)
        found.append(Comparison(**vars(test), **item))
    return found


def seeds_needed(
    mine: ArrayLike,
    theirs: ArrayLike,
    of_interest: float,
    level: float,
    settings: StatisticsSettings,
) -> SeedsNeeded | None:
    """Return how many seeds would show a difference of two samples at a level; None below six runs
    each, or where nothing varies. `of_interest` is a difference in the samples' unit. The t test
    stands in for the permutation test, which tends to it.
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, section 2.4.
    """
    a, b = finite(mine), finite(theirs)
    if min(a.size, b.size) < LEAST_RUNS:
        return None
    spread = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    if not spread > 0:
        return None
    effect = abs(float(a.mean() - b.mean())) / spread
    # Half of all estimates lie within so many standard errors of the truth.
    quarter = float(scipy.stats.norm.ppf(0.75) * np.sqrt(1 / a.size + 1 / b.size))
    return SeedsNeeded(
        low=_least(effect + quarter, level, settings),
        high=_least(effect - quarter, level, settings),
        of_interest=_least(of_interest / spread, level, settings),
    )


def _least(effect: float, level: float, settings: StatisticsSettings) -> int | None:
    """Return the least seeds that find a difference of `effect` standard deviations."""
    if effect <= 0:
        return None
    n = np.arange(2, settings.most_seeds + 1)
    freedom, shift = 2 * (n - 1), effect * np.sqrt(n / 2)
    edge = scipy.stats.t.ppf(1 - level / 2, freedom)
    enough = scipy.stats.nct.sf(edge, freedom, shift) >= settings.power
    return int(n[enough.argmax()]) if enough.any() else None


def compare_score(
    runs: pd.DataFrame, pairs: Pairs, score: Score, settings: StatisticsSettings
) -> list[Comparison]:
    """Return the differences of a score, paired by seed where both runs succeeded; exploratory."""
    good = runs[~runs["failed"]].pivot(index="seed", columns="arm", values=score.column)
    good = good.reindex(columns=runs["arm"].unique()).astype(float)
    found = []
    for arm, other in pairs:
        difference = estimates.paired_difference(good[arm] - good[other], settings)
        found.append(Comparison(arm=arm, other=other, score=score, **vars(difference)))
    return found


def compare_failures(
    runs: pd.DataFrame, pairs: Pairs, settings: StatisticsSettings
) -> list[Comparison]:
    """Return Boschloo's exact tests of failure rates; exploratory."""
    found = []
    for arm, other in pairs:
        mine, theirs = (failure_rate(runs, name, settings.confidence) for name in (arm, other))
        found.append(
            Comparison(
                arm=arm,
                other=other,
                score=FAILURE_RATE,
                n=min(mine.runs, theirs.runs),
                mean=mine.rate - theirs.rate,
                p=estimates.boschloo_p(*((r.failures, r.runs) for r in (mine, theirs))),
                least_p=estimates.boschloo_p((0, mine.runs), (theirs.runs, theirs.runs)),
                rates=(mine, theirs),
            )
        )
    return found


def similarity(item: Comparison, margin: float) -> Literal["same", "alike", "apart", "open"]:
    """Return how a value of a setting stands beside the control, by the interval of their losses.

    same: their mean loss is one number, as where a clipping norm is so large that it clips nothing;
    alike: the interval lies within the margin; apart: it excludes equality; open: neither.
    """
    ends = item.interval
    if item.mean == 0:
        return "same"
    if ends is None:
        return "open"
    if -math.log1p(margin) <= ends.low and ends.high <= math.log1p(margin):
        return "alike"
    return "apart" if ends.low > 0 or ends.high < 0 else "open"
