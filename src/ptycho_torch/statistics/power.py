"""How many seeds would decide a comparison of losses that is undecided."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy
from numpy.typing import ArrayLike

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics.estimates import finite

LEAST_RUNS = 6
"""Runs of each arm below which no forecast is made: the spread of fewer says too little."""

# Half of all estimates lie within so many standard errors of the truth.
_QUARTILE = NormalDist().inv_cdf(0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsNeeded:
    """Seeds per arm that would decide a comparison; None: more than `most_seeds`.

    low, high: if the true difference were the observed one and the quarter of its standard error's
    distribution more or less: as likely as not the number lies between; of_interest: if it were the
    `effect_of_interest`.
    """

    low: int | None
    high: int | None
    of_interest: int | None


def seeds_needed(
    mine: ArrayLike,
    theirs: ArrayLike,
    *,
    of_interest: float,
    level: float,
    settings: StatisticsSettings,
) -> SeedsNeeded | None:
    """Return how many seeds would show a difference of two samples at a level; None below six runs
    each, or where nothing varies. `of_interest` is a difference in the samples' unit.

    The t test stands in for the permutation test, which tends to it.
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, section 2.4.
    """
    a, b = finite(mine), finite(theirs)
    if min(a.size, b.size) < LEAST_RUNS:
        return None
    spread = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    if not spread > 0:
        return None
    effect = abs(float(a.mean() - b.mean())) / spread
    error = float(np.sqrt(1 / a.size + 1 / b.size))
    more, less, interest = (
        _least(size, level, settings)
        for size in (
            effect + _QUARTILE * error,
            effect - _QUARTILE * error,
            of_interest / spread,
        )
    )
    return SeedsNeeded(low=more, high=less, of_interest=interest)


def _least(effect: float, level: float, settings: StatisticsSettings) -> int | None:
    """Return the least number of seeds at which a difference of `effect` standard deviations is
    found with the power that is asked for."""
    if effect <= 0:
        return None
    n = np.arange(2, settings.most_seeds + 1)
    freedom, shift = 2 * (n - 1), effect * np.sqrt(n / 2)
    edge = scipy.stats.t.ppf(1 - level / 2, freedom)
    enough = scipy.stats.nct.sf(edge, freedom, shift) >= settings.power
    return int(n[enough.argmax()]) if enough.any() else None
