"""What a handful of seeds supports: intervals, exact tests, survival."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from ptycho_torch.config.evaluation import StatisticsSettings

# Up to here all 2^n sign patterns are tried; beyond, a seeded random subset of them.
_EXACT_PAIRS = 15
# The same for the ways of dividing two samples: 12,870 at 8 against 8, 48,620 at 9 against 9.
_EXACT_DIVISIONS = 50_000


class Interval(NamedTuple):
    """A two-sided interval, in the unit of what it bounds."""

    low: float
    high: float


class Spread(NamedTuple):
    """Median, first and third quartile of n values; null if n is 0."""

    n: int
    median: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference, the interval that inverts its permutation test (None where the values are
    too few for one), the test's two-sided p, and the least p that so many values can give.

    n: pairs, or values of the smaller of two samples.
    """

    n: int
    mean: float | None = None
    interval: Interval | None = None
    p: float | None = None
    least_p: float = 1.0


def spread(values: ArrayLike) -> Spread:
    """Return median and quartiles (linear interpolation) of the finite values."""
    sample = finite(values)
    if not sample.size:
        return Spread(0)
    low, median, high = np.quantile(sample, [0.25, 0.5, 0.75]).tolist()
    return Spread(sample.size, median, low, high)


def boschloo_p(failed: tuple[int, int], control: tuple[int, int]) -> float:
    """Return the two-sided p of Boschloo's exact test of two failure rates, as (failures, runs).

    It rejects whatever Fisher's exact test rejects, and more.
    Boschloo (1970), Statistica Neerlandica 24, 1, doi:10.1111/j.1467-9574.1970.tb00104.x.
    """
    (k, n), (k_control, n_control) = failed, control
    table = [[k, k_control], [n - k, n_control - k_control]]
    return float(scipy.stats.boschloo_exact(table).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float]:
    """Return Holm's step-down corrected p values; where a test has none it counts as 1.

    Holm (1979), Scand. J. Statist. 6, 65.
    """
    p = np.array([1.0 if value is None else value for value in p_values])
    order = np.argsort(p)
    corrected = np.maximum.accumulate(np.arange(p.size, 0, -1) * p[order])
    return np.minimum(corrected, 1.0)[np.argsort(order)].tolist()


def paired_difference(values: ArrayLike, settings: StatisticsSettings) -> Difference:
    """Return the mean of paired differences, the two-sided p of its sign-flip permutation test, and
    all means that the test does not reject; what is not finite is left out.

    The interval's ends are means of subsets of the differences, so that it excludes 0 exactly where
    p is small enough. All 2^n sign patterns up to 15 pairs, else random ones under the seed.
    Fisher (1935), The Design of Experiments, section 21; the interval: Hartigan (1969), Using
    subsample values as typical values, J. Amer. Statist. Assoc. 64, 1303.
    """
    sample = finite(values)
    if not sample.size:
        return Difference(n=0)
    if sample.size <= _EXACT_PAIRS:
        subsets = np.arange(1, 2**sample.size)[:, None] >> np.arange(sample.size) & 1
    else:
        stream = np.random.default_rng(settings.seed)
        subsets = stream.integers(0, 2, (settings.resamples, sample.size))
        subsets = subsets[subsets.any(axis=1)]
    # A pattern that flips a subset is as extreme as the one seen once the subset's mean is removed.
    means = subsets @ sample / subsets.sum(axis=1)
    return _inverted(float(sample.mean()), means, len(means) + 1, settings, sample)


def _inverted(
    mean: float,
    shifts: NDArray[np.float64],
    patterns: int,
    settings: StatisticsSettings,
    *samples: NDArray[np.float64],
) -> Difference:
    """Return test and interval; shifts: what makes each other pattern as extreme as that seen."""
    shifts, unmoved = np.sort(shifts), patterns - shifts.size
    near = 1e-12 * max(float(np.abs(sample).max()) for sample in samples)
    tails = (int(np.count_nonzero(side <= near)) for side in (shifts, -shifts))
    rank = math.floor(level(settings.confidence) / 2 * patterns + 1e-9) - unmoved + 1
    ends = Interval(float(shifts[rank - 1]), float(shifts[-rank])) if rank > 0 else None
    return Difference(
        n=min(sample.size for sample in samples),
        mean=mean,
        interval=ends,
        p=min(1.0, 2 * (unmoved + min(tails)) / patterns),
        least_p=min(1.0, 2 / patterns),
    )


def sample_difference(
    mine: ArrayLike, theirs: ArrayLike, settings: StatisticsSettings
) -> Difference:
    """Return the difference of the means of two samples, the interval that inverts their
    permutation test, and the test's p; what is not finite is left out.

    All divisions of the values into samples of these sizes are tried, or random ones under the
    seed. A division that exchanges k values of each sample is as extreme as the observed one once
    `mine` is shifted by the difference of the means of what is exchanged: these shifts, sorted, are
    the ends of intervals at all levels.
    Pitman (1937), J. R. Statist. Soc. Suppl. 4, 119, doi:10.2307/2984124; the inversion:
    Garthwaite (1996), Biometrics 52, 1387, doi:10.2307/2532852.
    """
    a, b = finite(mine), finite(theirs)
    if not min(a.size, b.size):
        return Difference(n=0)
    pooled, divisions = np.concatenate([a, b]), math.comb(a.size + b.size, a.size)
    if divisions <= _EXACT_DIVISIONS:
        chosen = np.array(list(combinations(range(pooled.size), a.size)))
    else:
        stream = np.random.default_rng(settings.seed)
        order = stream.permuted(np.tile(np.arange(pooled.size), (settings.resamples, 1)), axis=1)
        chosen, divisions = order[:, : a.size], settings.resamples + 1
    exchanged = np.count_nonzero(chosen >= a.size, axis=1)
    moved = exchanged > 0
    shifts = (a.sum() - pooled[chosen[moved]].sum(axis=1)) / exchanged[moved]
    return _inverted(float(a.mean() - b.mean()), shifts, divisions, settings, a, b)


def level(confidence: float) -> float:
    """Return the level of the tests, 1 - confidence, free of the subtraction's rounding."""
    return round(1 - confidence, 12)


def kaplan_meier(
    failed_at: Sequence[int], completed_at: Sequence[int], confidence: float
) -> pd.DataFrame:
    """Return the Kaplan-Meier curve of the time to failure, a row per epoch at which runs ended.

    failed_at: epoch of each failure, the last where it is found only at the end; completed_at: last
    epoch of each successful run, right-censored. `survival`: share of runs that have not failed
    after `epoch`; `low`, `high`: log-log interval, NaN where there is none (no failure yet, or no
    run left).
    Kaplan and Meier (1958), doi:10.1080/01621459.1958.10501452.
    """
    data = scipy.stats.CensoredData(uncensored=list(failed_at), right=list(completed_at))
    curve = scipy.stats.ecdf(data).sf
    with warnings.catch_warnings():  # The interval is undefined where the estimate is 0 or 1.
        warnings.simplefilter("ignore", RuntimeWarning)
        bounds = curve.confidence_interval(confidence, method="log-log")
    epochs = np.unique([0, *failed_at, *completed_at])
    survival = curve.evaluate(epochs)
    inside = (survival > 0) & (survival < 1)
    return pd.DataFrame({
        "epoch": epochs,
        "survival": survival,
        "low": np.where(inside, bounds.low.evaluate(epochs), np.nan),
        "high": np.where(inside, bounds.high.evaluate(epochs), np.nan),
    })  # fmt: skip


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """Return the finite values, in their order."""
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]
