"""How many seeds would decide what is undecided: power of the study's own tests, by simulation.

The answer takes what was seen for the truth. From a handful of runs that is rough: half of all
repetitions see a smaller effect than the true one, and would need more seeds.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.statistics import estimates

# Up to here all sign patterns of every simulated study are tried; beyond, the t test stands in.
EXACT_PAIRS = 12
_CHUNK = 32  # Simulated studies at a time: a block of 0.5 MB at 12 pairs stays in the cache.


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsNeeded:
    """The number of seeds that would decide a comparison, or why there is none.

    seeds: pairs of successful runs, or runs per arm; None: more than `most_seeds`, or no number;
    missing: what no number can be given for; sample: pairs, or runs of the arm and of the control,
    that it rests on; assumed_rates: of arm and control, where the seen ones are equal.
    """

    seeds: int | None
    missing: Literal["pairs", "spread", "difference"] | None = None
    sample: tuple[int, ...]
    assumed_rates: tuple[float, float] | None = None


def seeds_for_difference(
    differences: ArrayLike, *, family: int, settings: StatisticsSettings
) -> SeedsNeeded:
    """Return how many pairs would support a difference of the seen mean and spread.

    Normal differences of the seen mean and standard deviation are drawn. A drawn study counts if
    its two-sided sign-flip p, times `family` (Holm's hardest step), is at most the level and its
    mean has the seen sign. That the interval excludes 0, which the study asks as well, follows from
    the p, whose test it inverts. Above 12 pairs the p is that of the
    t test, to which the sign-flip test tends; a test compares the two at 12.

    References
    ----------
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, section 2.4 (the t test).
    """
    values = estimates.finite(differences)
    sample = (int(values.size),)
    if values.size < 2:
        return SeedsNeeded(seeds=None, missing="pairs", sample=sample)
    if np.ptp(values) == 0:
        return SeedsNeeded(seeds=None, missing="spread", sample=sample)
    values = values / np.abs(values).max()  # Only mean over spread matters; no overflow.
    effect = abs(float(values.mean() / values.std(ddof=1)))
    if effect == 0:
        return SeedsNeeded(seeds=None, missing="difference", sample=sample)
    alpha = estimates.level(settings.confidence)
    most = settings.most_seeds
    drawn = effect + _normal(settings.seed, settings.power_simulations, most)
    # The seen pairs did not decide, so the answer is beyond them.
    least = max(estimates.pairs_needed(settings.confidence, family), values.size + 1)
    tried = range(least, most + 1)

    def supported(pairs: int) -> float:
        studies = drawn[:, :pairs]
        p = (
            sign_flip_p_values(studies)
            if pairs <= EXACT_PAIRS
            else np.asarray(scipy.stats.ttest_1samp(studies, 0, axis=1).pvalue)
        )
        return float(np.mean((family * p <= alpha) & (studies.mean(axis=1) > 0)))

    place = bisect_left(tried, settings.power, key=supported)
    return SeedsNeeded(seeds=tried[place] if place < len(tried) else None, sample=sample)


def sign_flip_p_values(studies_SN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact two-sided sign-flip p of each row: S studies of N pairs, N <= 12.

    All sign patterns are one matrix. A pattern and its negative are equally extreme, so half of
    them are tried.
    """
    pairs = studies_SN.shape[1]
    codes = np.arange(2 ** (pairs - 1))[:, None]
    signs_PN = 1.0 - 2.0 * (codes >> np.arange(pairs) & 1)
    seen = np.abs(studies_SN.sum(axis=1, keepdims=True)) * (1 - 1e-12)
    extreme = np.empty(len(studies_SN))
    sums = np.empty((_CHUNK, len(signs_PN)))  # Filled again and again: new memory costs more.
    for start in range(0, len(extreme), _CHUNK):
        rows = np.ascontiguousarray(studies_SN[start : start + _CHUNK])
        block = np.matmul(rows, signs_PN.T, out=sums[: len(rows)])
        np.abs(block, out=block)
        extreme[start : start + _CHUNK] = np.count_nonzero(
            block >= seen[start : start + _CHUNK], axis=1
        )
    return extreme / len(signs_PN)


def seeds_for_rates(
    failed: tuple[int, int],
    control: tuple[int, int],
    *,
    family: int,
    settings: StatisticsSettings,
) -> SeedsNeeded:
    """Return how many runs per arm would tell two failure rates apart.

    Counts of failures are drawn at the seen rates. A drawn study counts if the p of Fisher's
    exact test, times `family`, is at most the level and the rates differ as seen. The power of an
    exact test is a saw-tooth in the number of runs; the least number that reaches it is given.

    At equal rates no number tells them apart. Then the rates are assumed to differ by
    `worthwhile_failure_difference`: the control fails so much more often than the arm.

    failed, control: (failures, runs).

    References
    ----------
    Haseman (1978), Biometrics 34, 106: sample sizes of Fisher's exact test.
    """
    rates = failed[0] / failed[1], control[0] / control[1]
    equal = failed[0] * control[1] == control[0] * failed[1]
    if equal:  # Both rates stay in [0, 1].
        higher = min(1.0, rates[0] + settings.worthwhile_failure_difference)
        rates = higher - settings.worthwhile_failure_difference, higher
    least = 1 if equal else min(failed[1], control[1]) + 1
    return SeedsNeeded(
        seeds=_least_runs(rates, least, family, settings),
        sample=(failed[1], control[1]),
        assumed_rates=rates if equal else None,
    )


def _least_runs(
    rates: tuple[float, float], least: int, family: int, settings: StatisticsSettings
) -> int | None:
    """Return the least number of runs per arm, from `least` on, that reaches the power."""
    alpha = estimates.level(settings.confidence)
    most, simulations = settings.most_seeds, settings.power_simulations
    first, second = (
        np.cumsum(_uniform(settings.seed, simulations, most, name) < rate, axis=1)
        for name, rate in zip(("arm", "control"), rates, strict=True)
    )
    sign = np.sign(rates[0] - rates[1])
    for runs in range(least, most + 1):
        mine, theirs = first[:, runs - 1], second[:, runs - 1]
        told = (family * fisher_p_table(runs)[mine, theirs] <= alpha) & (
            np.sign(mine - theirs) == sign
        )
        if told.mean() >= settings.power:
            return runs
    return None


@lru_cache(maxsize=512)
def fisher_p_table(runs: int) -> NDArray[np.float64]:
    """Return the two-sided p of Fisher's exact test for every pair of failures of `runs` runs.

    Entry [a, b] sums the tables with the same a + b that are no more likely than [a, b], as
    `scipy.stats.fisher_exact` does; all at once, since a search needs tens of thousands of them.
    """
    ways = scipy.special.comb(runs, np.arange(runs + 1))
    weights = np.outer(ways, ways)
    p = np.empty_like(weights)
    for total in range(2 * runs + 1):
        a = np.arange(max(0, total - runs), min(runs, total) + 1)
        line = weights[a, total - a]
        ordered = np.sort(line)
        upto = np.searchsorted(ordered, line * (1 + 1e-9), side="right")
        p[a, total - a] = np.cumsum(ordered)[upto - 1] / scipy.special.comb(2 * runs, total)
    p = np.minimum(p, 1.0)
    p.flags.writeable = False
    return p


@lru_cache(maxsize=4)
def _normal(seed: int, studies: int, pairs: int) -> NDArray[np.float64]:
    return named_stream(seed, "power", "difference").standard_normal((studies, pairs))


@lru_cache(maxsize=4)
def _uniform(seed: int, studies: int, runs: int, name: str) -> NDArray[np.float64]:
    return named_stream(seed, "power", "rate", name).random((studies, runs))
