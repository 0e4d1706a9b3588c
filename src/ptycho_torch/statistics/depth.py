"""Does an arm survive depth? Its deep runs beside its own shallow ones, paired by seed."""

import math

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.config.study import DepthSettings
from ptycho_torch.runtime.markdown import number, percent, plain, plural
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import differences_of, judge
from ptycho_torch.statistics.runs import failures_of, paired_values
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM
from ptycho_torch.statistics.verdict import (
    Evidence,
    Status,
    Verdict,
    loss_at_most,
    never_failed,
)


def binomial_p(failures: int, runs: int, rate: float) -> tuple[float, float]:
    """Return the one-sided exact p that the failure rate is above `rate`, and that it is below.

    References
    ----------
    Clopper and Pearson (1934), doi:10.1093/biomet/26.4.404: the interval that these tests invert.
    """
    above, below = (
        float(scipy.stats.binomtest(failures, runs, rate, alternative=side).pvalue)
        for side in ("greater", "less")
    )
    return above, below


def judge_depth(
    deep: str, shallow: str, evidence: Evidence, history: pd.DataFrame, settings: DepthSettings
) -> list[Verdict]:
    """Return a verdict for each of Stage B's conditions on a deep arm.

    Parameters
    ----------
    deep, shallow
        The same arm with more and with the base's Fourier blocks; both among the runs.
    evidence
        Runs of both.
    history
        A row per run and epoch, with `arm`, `seed`, `epoch` and `grad_norm_p99`.
    settings
        The conditions' bounds.
    """
    found: list[tuple[str, tuple[Status, str]]] = [
        ("no_failures", never_failed(deep, evidence)),
        ("gradient_bounded", _gradient_bounded(deep, shallow, evidence.runs, history, settings)),
        ("loss_matches", loss_at_most(deep, shallow, evidence, settings.max_loss_increase)),
        ("ssim_matches", _ssim_matches(deep, shallow, evidence, settings.max_ssim_decrease)),
    ]
    return [
        Verdict(arm=deep, condition=condition, status=status, sentence=sentence)
        for condition, (status, sentence) in found
    ]


def gradient_bound(runs: pd.DataFrame, shallow: str, factor: float) -> float | None:
    """Return the bound on the gradient norm of deep runs; None if no shallow run has a norm.

    It is `factor` times the largest 99th percentile over the steps of a shallow run.
    """
    seen = runs.loc[runs["arm"] == shallow, "grad_norm_p99"].astype(float).dropna()
    return factor * float(seen.max()) if len(seen) else None


def _gradient_bounded(
    deep: str, shallow: str, runs: pd.DataFrame, history: pd.DataFrame, settings: DepthSettings
) -> tuple[Status, str]:
    bound = gradient_bound(runs, shallow, settings.gradient_factor)
    mine = history[history["arm"] == deep]
    if bound is None:
        return "undecided", f"no run of {shallow} has a gradient norm to take the bound from"
    limit = (
        f"the bound is {number(bound)}, {plain(settings.gradient_factor)} times the largest 99th "
        f"percentile of a run of {shallow}"
    )
    stopped = int(((runs["arm"] == deep) & runs["outcome"].isin(("non_finite", "exploded"))).sum())
    if mine.empty:
        return "undecided", f"no epoch of {deep} ended; {limit}"
    norms = mine["grad_norm_p99"].astype(float)
    beyond = mine[(norms > bound) | ~np.isfinite(norms)]
    largest = f"the largest 99th percentile of an epoch is {number(float(norms.max()))}"
    if stopped:
        return "not met", f"{plural(stopped, 'run')} ended in NaN or explosion; {largest}; {limit}"
    if len(beyond):
        return "not met", (
            f"{plural(len(beyond), 'epoch')} of {len(mine)} in "
            f"{plural(beyond['seed'].nunique(), 'run')} lie beyond it; {largest}; {limit}"
        )
    return "met in these runs", f"{largest} over {plural(len(mine), 'epoch')}; {limit}"


def _ssim_matches(deep: str, shallow: str, evidence: Evidence, bound: float) -> tuple[Status, str]:
    mine, theirs = paired_values(evidence.runs, deep, shallow, AMPLITUDE_SSIM.column)
    found = differences_of(mine - theirs, evidence.settings)
    limit = f"the bound is -{plain(bound)}"
    if found.mean is None:
        return "undecided", f"no seed at which both runs succeeded; {limit}"
    shifted = differences_of(mine - theirs + bound, evidence.settings)
    state, why = judge(shifted, p_holm=shifted.p, family=1, confidence=evidence.settings.confidence)
    seen = (
        f"the amplitude SSIM differs by {found.mean:+.3f} from that of {shallow} "
        f"({plural(found.n, 'pair')}); {limit}"
    )
    if state == "undecided":
        reason = "the interval includes the bound" if why.endswith("includes 0") else why
        return "undecided", f"{seen}; {reason}"
    return ("met" if state == "higher" else "not met"), seen


def fails_at_depth(
    deep: str, shallow: str, evidence: Evidence, *, acceptable: float, settings: DepthSettings
) -> tuple[bool | None, str]:
    """Return whether an arm is shown to fail at depth (None: open), and why, in words.

    It fails if its failure rate is shown to exceed what is acceptable (exact binomial test), or
    its loss is shown to be higher than its shallow self's beyond the bound. It is shown to hold
    if the rate is shown to be at most acceptable; few runs can show neither.
    """
    failures, n = failures_of(evidence.runs, deep)
    alpha = estimates.level(evidence.settings.confidence)
    above, below = binomial_p(failures, n, acceptable)
    rate = f"{failures} of {plural(n, 'run')} failed at depth"
    limit = f"acceptable: {percent(acceptable)}"
    if above <= alpha:
        return True, f"{rate}, beyond chance ({limit}; exact binomial p = {number(above, 2)})"
    status, sentence = loss_at_most(deep, shallow, evidence, settings.max_loss_increase)
    if status == "not met":
        return True, sentence
    if below <= alpha:
        return False, f"{rate}, fewer than acceptable beyond chance ({limit})"
    needed = math.ceil(math.log(alpha) / math.log1p(-acceptable))
    return None, (
        f"{rate}; the rate is not told apart from the acceptable one ({limit}, exact binomial "
        f"p = {number(above, 2)}). To show that it is at most that takes {needed} runs without a "
        "failure"
    )
