"""Arms against each other: by the composite loss, which claims rest on, by failures, by scores.

A claim is a comparison of a stage's primary family whose p, corrected by Holm, is at most the
stage's level. All other comparisons are exploratory: they have estimates and intervals, and no
state.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Difference, Interval
from ptycho_torch.statistics.power import SeedsNeeded, seeds_needed
from ptycho_torch.statistics.runs import FailureRate, failure_rate
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPLETED, COMPOSITE, TUNED, Score

FAILURE_RATE = Score("failure_rate", "failure rate", lower_is_better=True)
"""Stands for a score in comparisons of failure rates."""

Pairs = Sequence[tuple[str, str]]

State = Literal["lower", "higher", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm against another in one number.

    score: column of the table of runs, or `failure_rate`; n: pairs, or runs of the arm with fewer;
    estimate: arm minus other; of losses the difference of the logarithms; interval: of the test,
    none of rates; p: two-sided; p_holm: after Holm's correction for `family` comparisons, of a
    primary comparison; least_p: least that so many runs can give; level: None if exploratory;
    state: what is claimed of the arm; rates: of arm and other, None for a score; seeds: how many
    would decide it, where that can be said.
    """

    arm: str
    other: str
    score: str
    label: str
    n: int
    estimate: float | None
    interval: Interval | None
    p: float | None
    least_p: float
    family: int
    p_holm: float | None = None
    level: float | None = None
    state: State = "undecided"
    rates: tuple[FailureRate, FailureRate] | None = None
    seeds: SeedsNeeded | None = None

    @property
    def better(self) -> bool | None:
        """Whether the claim is to the arm's good, which is lower of whatever is claimed."""
        return None if self.state == "undecided" else self.state == "lower"

    @property
    def is_loss(self) -> bool:
        """Whether the estimate is the logarithm of a ratio."""
        return self.score in (COMPOSITE.column, TUNED.column)


def log_values(runs: pd.DataFrame, arm: str, column: str) -> NDArray[np.float64]:
    """Return the logarithms of a column over all runs of an arm."""
    values = runs.loc[runs["arm"] == arm, column].to_numpy(np.float64)
    return np.log(np.maximum(values, np.finfo(np.float64).tiny))


def compare_losses(
    runs: pd.DataFrame,
    pairs: Pairs,
    settings: StatisticsSettings,
    level: float | None = None,
    score: Score = COMPOSITE,
) -> list[Comparison]:
    """Return the comparisons of the logarithms of a loss that every run has.

    level: that of the family `pairs`; None: exploratory.
    """
    arms = dict.fromkeys(arm for pair in pairs for arm in pair)
    samples = {arm: log_values(runs, arm, score.column) for arm in arms}
    return compare_samples(samples, pairs, score, settings, level)


def compare_samples(
    samples: Mapping[str, ArrayLike],
    pairs: Pairs,
    score: Score,
    settings: StatisticsSettings,
    level: float | None,
) -> list[Comparison]:
    """Return the two-sample comparisons of arms with these values, a family of this level.

    Where planned looks ended one arm earlier, both are compared as they were then.
    """
    values = []
    for pair in pairs:
        mine, theirs = (np.asarray(samples[arm], np.float64) for arm in pair)
        both = min(mine.size, theirs.size)
        values.append((mine[:both], theirs[:both]))
    found = [
        _comparison(pair, score, estimates.sample_difference(*both, settings), len(pairs))
        for pair, both in zip(pairs, values, strict=True)
    ]
    if level is None:
        return found
    corrected = estimates.holm([item.p for item in found])
    found = [replace(item, p_holm=p, level=level) for item, p in zip(found, corrected, strict=True)]
    return [_judged(item, level, *both, settings) for item, both in zip(found, values, strict=True)]


def _judged(
    item: Comparison,
    level: float,
    mine: NDArray[Any],
    theirs: NDArray[Any],
    settings: StatisticsSettings,
) -> Comparison:
    """Return a comparison of a primary family with what it claims, or what would decide it."""
    if item.p_holm is not None and item.p_holm <= level and item.estimate:
        return replace(item, state="lower" if item.estimate < 0 else "higher")
    part = settings.effect_of_interest
    its_mean = float(theirs.mean()) if theirs.size else 0.0
    seeds = seeds_needed(
        mine,
        theirs,
        of_interest=math.log1p(part) if item.is_loss else part * its_mean,
        level=level / item.family,
        settings=settings,
    )
    return replace(item, seeds=seeds)


def compare_score(
    runs: pd.DataFrame, pairs: Pairs, score: Score, settings: StatisticsSettings
) -> list[Comparison]:
    """Return the differences of a score, paired by seed where both runs succeeded; exploratory."""
    good = runs[~runs["failed"]].pivot(index="seed", columns="arm", values=score.column)
    good = good.reindex(columns=runs["arm"].unique()).astype(float)
    return [
        _comparison(
            (arm, other),
            score,
            estimates.paired_difference(good[arm] - good[other], settings),  # NaN: no pair.
            len(pairs),
        )
        for arm, other in pairs
    ]


def _comparison(pair: tuple[str, str], score: Score, found: Difference, family: int) -> Comparison:
    return Comparison(
        arm=pair[0],
        other=pair[1],
        score=score.column,
        label=score.label,
        n=found.n,
        estimate=found.mean,
        interval=found.interval,
        p=found.p,
        least_p=found.least_p,
        family=family,
    )


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
                score=FAILURE_RATE.column,
                label=FAILURE_RATE.label,
                n=min(mine.runs, theirs.runs),
                estimate=mine.rate - theirs.rate,
                interval=None,
                p=estimates.boschloo_p(mine.pair, theirs.pair),
                least_p=estimates.boschloo_p((0, mine.runs), (theirs.runs, theirs.runs)),
                family=len(pairs),
                rates=(mine, theirs),
            )
        )
    return found


def similarity(
    item: Comparison, runs: pd.DataFrame, margin: float
) -> Literal["same", "alike", "apart", "open"]:
    """Return how a value of a setting stands beside the control, by the interval of their losses.

    same: its runs have the control's very numbers, as where a clipping norm is so large that
    nothing was ever clipped; alike: the interval lies within the margin; apart: it excludes
    equality; open: neither.
    """
    columns = ["outcome", COMPOSITE.column, AMPLITUDE_SSIM.column, "grad_norm_p99"]
    own, its = (
        runs[runs["arm"] == name].set_index("seed")[columns].sort_index()
        for name in (item.arm, item.other)
    )
    # Where every run failed there are no numbers to be the same.
    if own.equals(its) and (own["outcome"] == COMPLETED).any():
        return "same"
    ends = item.interval
    if ends is None:
        return "open"
    if -math.log1p(margin) <= ends.low and ends.high <= math.log1p(margin):
        return "alike"
    return "apart" if ends.low > 0 or ends.high < 0 else "open"
