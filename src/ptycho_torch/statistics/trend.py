"""Does a result depend on a setting? Each value beside the control, and a trend over values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.runtime.markdown import p_text, percent, plural
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM
from ptycho_torch.statistics.verdict import Evidence, loss_at_most

Likeness = Literal["same", "differs", "alike", "undecided"]

# All orders of up to so many runs are tried; beyond, a seeded random subset of them.
_MOST_ORDERS = 9_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Whether a number rises or falls with a setting."""

    p: float | None
    """Two-sided p; null where there is nothing to test."""

    sentence: str
    """In words, with n."""


def likeness(
    arm: str, control: str, comparisons: Sequence[Comparison], evidence: Evidence, margin: float
) -> tuple[Likeness, str]:
    """Return whether an arm is shown to differ from the control, or to be alike, and why.

    Runs with the control's very numbers are the same runs, as where a clipping norm is so large
    that nothing was ever clipped: no test is needed to call them alike.

    Parameters
    ----------
    arm, control
        Names of arms.
    comparisons
        The stage's comparisons of the loss and of the failure rate; one of them supported makes
        the arm different, unless it is the loss and lies within the margin.
    evidence
        The stage's runs.
    margin
        Alike: the loss is shown to lie within this fraction of the control's, either way.
    """
    if same_runs(arm, control, evidence):
        return "same", "seed by seed its runs have the very numbers of the control's"
    mine = [item for item in comparisons if (item.arm, item.other) == (arm, control)]
    different = [item for item in mine if item.better is not None]
    above, why = loss_at_most(arm, control, evidence, margin)
    below, _ = loss_at_most(control, arm, evidence, margin)
    within = above == below == "met"
    if within and all(item.score == evidence.loss.column for item in different):
        small = f", though told apart from it ({different[0].state})" if different else ""
        return "alike", f"its loss lies within {percent(margin)} of the control's{small}"
    if different:
        return "differs", "; ".join(f"{item.label} {item.state} ({item.why})" for item in different)
    return "undecided", why


def same_runs(arm: str, control: str, evidence: Evidence) -> bool:
    """Return whether an arm's runs have the control's outcomes and losses, exactly."""
    columns = ["outcome", evidence.loss.column, AMPLITUDE_SSIM.column, "grad_norm_p99"]
    mine, theirs = (
        evidence.runs[evidence.runs["arm"] == name].set_index("seed")[columns].sort_index()
        for name in (arm, control)
    )
    return mine.equals(theirs)


def loss_trend(arms: Sequence[str], evidence: Evidence) -> Trend:
    """Return whether the loss rises or falls along the arms: Page's test, paired by seed.

    Only seeds at which every arm succeeded enter. Two-sided by doubling the smaller of the
    exact one-sided p values.

    References
    ----------
    Page (1963), J. Amer. Statist. Assoc. 58, 216, doi:10.1080/01621459.1963.10500843.
    """
    table = _losses(arms, evidence)
    if len(arms) < 3 or len(table) < 2:
        return Trend(
            p=None,
            sentence=(
                f"no test of a trend of the loss: {plural(len(arms), 'value')}, "
                f"{plural(len(table), 'seed')} at which every run succeeded (3 and 2 are needed)"
            ),
        )
    rising, falling = (
        scipy.stats.page_trend_test(table),
        scipy.stats.page_trend_test(table[:, ::-1]),
    )
    p = min(1.0, 2 * float(min(rising.pvalue, falling.pvalue)))
    way = "rises" if rising.pvalue < falling.pvalue else "falls"
    decided = p <= estimates.level(evidence.settings.confidence)
    said = f"the loss {way} along the values" if decided else "no trend of the loss is shown"
    return Trend(p=p, sentence=f"{said} (Page's test, two-sided {p_text(p)}, {len(table)} seeds)")


def _losses(arms: Sequence[str], evidence: Evidence) -> np.ndarray:
    """Return (seeds, arms): the losses at the seeds at which every arm succeeded."""
    good = evidence.runs[~evidence.runs["failed"].astype(bool)]
    wide = good.pivot_table(index="seed", columns="arm", values=evidence.loss.column)
    if any(arm not in wide for arm in arms):
        return np.empty((0, len(arms)))
    return wide[list(arms)].dropna().to_numpy(np.float64)


def failure_trend(values: Sequence[float], failed: Sequence[bool], *, confidence: float) -> Trend:
    """Return whether failures become more or less frequent along a setting.

    A permutation test of the sum of the failed runs' values, as in the exact form of the
    Cochran-Armitage test: exact where the orders are few, else 9,999 random ones, seeded.

    Parameters
    ----------
    values
        The setting of each run, or its rank.
    failed
        Whether each run failed.
    confidence
        1 minus it is the level.

    References
    ----------
    Armitage (1955), Biometrics 11, 375, doi:10.2307/3001775.
    """
    k, n = int(np.sum(failed)), len(failed)
    if k in (0, n):
        return Trend(
            p=None, sentence=f"{k} of {plural(n, 'run')} failed, so failures have no trend"
        )
    found = scipy.stats.permutation_test(
        (np.asarray(values, float), np.asarray(failed, float)),
        lambda x, y, axis: np.sum(x * y, axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=_MOST_ORDERS,
        rng=np.random.default_rng(0),
    )
    p = float(found.pvalue)
    centred = float(np.dot(np.asarray(values) - np.mean(values), np.asarray(failed, float)))
    way = "more" if centred > 0 else "less"
    decided = p <= estimates.level(confidence)
    said = f"failures become {way} frequent" if decided else "no trend of the failures is shown"
    return Trend(p=p, sentence=f"{said} (permutation test, two-sided {p_text(p)}, {n} runs)")


def first_failing(arms: Sequence[str], runs: pd.DataFrame) -> str | None:
    """Return the first of the arms that has a failed run."""
    failed = set(runs.loc[runs["failed"].astype(bool), "arm"])
    return next((arm for arm in arms if arm in failed), None)
