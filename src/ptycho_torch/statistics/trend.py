"""Does a result depend on a setting? Each value beside the control, and a trend over values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM
from ptycho_torch.statistics.verdict import BoundCheck, Evidence, loss_at_most

# Up to so many ways in which runs can fail are all tried; beyond, as many random ones.
_MOST_ORDERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Whether an arm is shown to differ from the control, or to be like it.

    state: `same` where its runs have the control's very numbers; different: what tells it apart;
    margin: alike are losses within this fraction of the control's; loss: against the upper end of
    the margin, None where the runs are the same.
    """

    state: Literal["same", "differs", "alike", "undecided"]
    different: tuple[Comparison, ...]
    margin: float
    loss: BoundCheck | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Whether a number is shown to rise or fall with a setting.

    p: two-sided, None where there is nothing to test; n: seeds at which every run succeeded, or
    runs.
    """

    p: float | None
    rising: bool
    supported: bool
    n: int


def similarity(
    arm: str, control: str, comparisons: Sequence[Comparison], evidence: Evidence, margin: float
) -> Similarity:
    """Return whether an arm is shown to differ from the control, or to be alike.

    Runs with the control's very numbers are the same runs, as where a clipping norm is so large
    that nothing was ever clipped: no test is needed to call them alike. One supported comparison
    makes the arm different, unless it is of the loss and both losses are shown to lie within the
    margin of each other.
    """
    columns = ["outcome", evidence.loss.column, AMPLITUDE_SSIM.column, "grad_norm_p99"]
    own, its = (
        evidence.runs[evidence.runs["arm"] == name].set_index("seed")[columns].sort_index()
        for name in (arm, control)
    )
    # Where every run failed there are no numbers to be the same.
    if own.equals(its) and own[evidence.loss.column].notna().any():
        return Similarity(state="same", different=(), margin=margin, loss=None)
    mine = [item for item in comparisons if (item.arm, item.other) == (arm, control)]
    different = tuple(item for item in mine if item.better is not None)
    above = loss_at_most(arm, control, evidence, margin)
    below = loss_at_most(control, arm, evidence, margin)
    within = above.status == below.status == "met"
    state: Literal["differs", "alike", "undecided"] = "differs" if different else "undecided"
    if within and all(item.score == evidence.loss.column for item in different):
        state = "alike"
    return Similarity(state=state, different=different, margin=margin, loss=above)


def loss_trend(arms: Sequence[str], evidence: Evidence) -> Trend:
    """Return whether the loss rises or falls along the arms: Page's test, paired by seed.

    Only seeds at which every arm succeeded enter; 3 arms and 2 seeds are needed. Two-sided by
    doubling the smaller of the exact one-sided p values.

    References
    ----------
    Page (1963), J. Amer. Statist. Assoc. 58, 216, doi:10.1080/01621459.1963.10500843.
    """
    good = evidence.runs[~evidence.runs["failed"].astype(bool)]
    wide = good.pivot_table(index="seed", columns="arm", values=evidence.loss.column)
    table_SA = wide.reindex(columns=list(arms)).dropna().to_numpy(np.float64)
    if len(arms) < 3 or len(table_SA) < 2:
        return Trend(p=None, rising=False, supported=False, n=len(table_SA))
    rising = scipy.stats.page_trend_test(table_SA).pvalue
    falling = scipy.stats.page_trend_test(table_SA[:, ::-1]).pvalue
    p = min(1.0, 2 * float(min(rising, falling)))
    supported = p <= estimates.level(evidence.settings.confidence)
    return Trend(p=p, rising=bool(rising < falling), supported=supported, n=len(table_SA))


def failure_trend(values: Sequence[float], failed: Sequence[bool], *, confidence: float) -> Trend:
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
        return Trend(p=None, rising=False, supported=False, n=n)
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
    return Trend(p=p, rising=rising, supported=p <= estimates.level(confidence), n=n)


def first_failing(arms: Sequence[str], runs: pd.DataFrame) -> str | None:
    """Return the first of the arms that has a failed run."""
    failed = set(runs.loc[runs["failed"].astype(bool), "arm"])
    return next((arm for arm in arms if arm in failed), None)
