"""Does an arm survive depth? Its deep runs beside its own shallow ones, paired by seed."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.config.study import DepthSettings
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.runs import FailureRate
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM
from ptycho_torch.statistics.verdict import (
    Basis,
    BoundCheck,
    Evidence,
    GradientCheck,
    Status,
    Verdict,
    loss_at_most,
    never_failed,
    score_at_least,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthFailure:
    """Whether an arm is shown to fail at depth.

    fails: None if the runs show neither; acceptable: failure rate that is still accepted; p_above:
    one-sided exact binomial p that the rate is above it; loss: beside that of its shallow self;
    by_loss: whether the loss decided; runs_needed: runs without a failure that would show a rate
    of at most the acceptable one.
    """

    fails: bool | None
    rate: FailureRate
    acceptable: float
    p_above: float
    loss: BoundCheck
    by_loss: bool
    runs_needed: int


def judge_depth(
    deep: str, shallow: str, evidence: Evidence, history: pd.DataFrame, settings: DepthSettings
) -> list[Verdict]:
    """Return a verdict for each of Stage B's conditions on a deep arm, held against itself shallow.

    history: a row per run and epoch, with `arm`, `seed`, `epoch` and `grad_norm_p99`.
    """
    loss = loss_at_most(deep, shallow, evidence, settings.max_loss_increase)
    ssim = score_at_least(deep, shallow, evidence, AMPLITUDE_SSIM, settings.max_ssim_decrease)
    judged: dict[str, tuple[Status, Basis]] = {
        "no_failures": never_failed(deep, evidence),
        "gradient_bounded": _gradient(deep, shallow, evidence.runs, history, settings),
        "loss_matches": (loss.status, loss),
        "ssim_matches": (ssim.status, ssim),
    }
    return [
        Verdict(arm=deep, condition=condition, status=status, basis=basis)
        for condition, (status, basis) in judged.items()
    ]


def gradient_bound(runs: pd.DataFrame, shallow: str, factor: float) -> float | None:
    """Return the bound on the gradient norm of deep runs; None if no shallow run has a norm.

    It is `factor` times the largest 99th percentile over the steps of a shallow run.
    """
    seen = runs.loc[runs["arm"] == shallow, "grad_norm_p99"].astype(float).dropna()
    return factor * float(seen.max()) if len(seen) else None


def _gradient(
    deep: str, shallow: str, runs: pd.DataFrame, history: pd.DataFrame, settings: DepthSettings
) -> tuple[Status, GradientCheck]:
    bound = gradient_bound(runs, shallow, settings.gradient_factor)
    mine = history[history["arm"] == deep]
    norms = mine["grad_norm_p99"].astype(float)
    beyond = mine[(norms > (math.inf if bound is None else bound)) | ~np.isfinite(norms)]
    stopped = (runs["arm"] == deep) & runs["outcome"].isin(("non_finite", "exploded"))
    check = GradientCheck(
        shallow=shallow,
        bound=bound,
        factor=settings.gradient_factor,
        epochs=len(mine),
        largest=float(norms.max()) if len(mine) else None,
        stopped=int(stopped.sum()),
        beyond=len(beyond),
        runs_beyond=beyond["seed"].nunique(),
    )
    if bound is None or mine.empty:
        return "undecided", check
    return ("not met" if check.stopped or check.beyond else "met in these runs"), check


def fails_at_depth(
    deep: str, shallow: str, evidence: Evidence, *, acceptable: float, settings: DepthSettings
) -> DepthFailure:
    """Return whether an arm is shown to fail at depth.

    It fails if its failure rate is shown to exceed what is acceptable (exact binomial test), or
    its loss is shown to be higher than its shallow self's beyond the bound. It is shown to hold
    if the rate is shown to be at most acceptable; few runs can show neither.

    References
    ----------
    Clopper and Pearson (1934), doi:10.1093/biomet/26.4.404: the interval that these tests invert.
    """
    rate, alpha = evidence.failures(deep), estimates.level(evidence.settings.confidence)
    above, below = (
        float(scipy.stats.binomtest(rate.failures, rate.runs, acceptable, alternative=side).pvalue)
        for side in ("greater", "less")
    )
    loss = loss_at_most(deep, shallow, evidence, settings.max_loss_increase)
    by_loss = above > alpha and loss.status == "not met"
    return DepthFailure(
        fails=True if above <= alpha or by_loss else False if below <= alpha else None,
        rate=rate,
        acceptable=acceptable,
        p_above=above,
        loss=loss,
        by_loss=by_loss,
        runs_needed=math.ceil(math.log(alpha) / math.log1p(-acceptable)),
    )
