"""Does a result depend on a setting? Each value beside the control, and a trend over values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPLETED, COMPOSITE

# Up to so many ways in which runs can fail are all tried; beyond, as many random ones.
_MOST_ORDERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Whether a number rises or falls with a setting; exploratory.

    p: two-sided, None where there is nothing to test; n: seeds, or runs.
    """

    p: float | None
    rising: bool
    n: int


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


def loss_trend(arms: Sequence[str], runs: pd.DataFrame) -> Trend:
    """Return whether the loss rises or falls along the arms: Page's test, paired by seed.

    By the composite loss, which failed runs have as well; 3 arms and 2 seeds are needed. Two-sided
    by doubling the smaller of the exact one-sided p values.

    References
    ----------
    Page (1963), J. Amer. Statist. Assoc. 58, 216, doi:10.1080/01621459.1963.10500843.
    """
    wide = runs.pivot_table(index="seed", columns="arm", values=COMPOSITE.column)
    table_SA = wide.reindex(columns=list(arms)).dropna().to_numpy(np.float64)
    if len(arms) < 3 or len(table_SA) < 2:
        return Trend(p=None, rising=False, n=len(table_SA))
    rising = scipy.stats.page_trend_test(table_SA).pvalue
    falling = scipy.stats.page_trend_test(table_SA[:, ::-1]).pvalue
    p = min(1.0, 2 * float(min(rising, falling)))
    return Trend(p=p, rising=bool(rising < falling), n=len(table_SA))


def failure_trend(values: Sequence[float], failed: Sequence[bool]) -> Trend:
    """Return whether failures become more or less frequent along a setting.

    A permutation test of the sum of the failed runs' values, as in the exact form of the
    Cochran-Armitage test: over all ways in which so many runs can fail, or random ones, seeded.

    values: the setting of each run, or its rank.

    References
    ----------
    Armitage (1955), Biometrics 11, 375, doi:10.2307/3001775.
    """
    x, y, n = np.asarray(values, float), np.asarray(failed, float), len(failed)
    if y.sum() in (0, n):
        return Trend(p=None, rising=False, n=n)
    seen, failures = float(x[y > 0].sum()), int(y.sum())
    if math.comb(n, failures) <= _MOST_ORDERS:
        ways = combinations(x.tolist(), failures)
        sums = np.fromiter((math.fsum(way) for way in ways), float)
    else:
        stream = np.random.default_rng(0)
        drawn = (stream.permutation(x)[:failures].sum() for _ in range(_MOST_ORDERS - 1))
        sums = np.array([seen, *drawn])
    near = 1e-9 * max(1.0, abs(seen))
    tails = (sums <= seen + near).mean(), (sums >= seen - near).mean()
    p = float(min(1.0, 2 * min(tails)))
    rising = bool(np.dot(x - x.mean(), y) > 0)
    return Trend(p=p, rising=rising, n=n)


def first_failing(arms: Sequence[str], runs: pd.DataFrame) -> str | None:
    """Return the first of the arms that has a failed run."""
    failed = set(runs.loc[runs["failed"].astype(bool), "arm"])
    return next((arm for arm in arms if arm in failed), None)
