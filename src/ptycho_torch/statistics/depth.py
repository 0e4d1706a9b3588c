"""Does an arm survive depth? Its deep runs beside its own shallow ones."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.study import DepthSettings
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import log_values
from ptycho_torch.statistics.estimates import Difference
from ptycho_torch.statistics.runs import FailureRate, failure_rate
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPOSITE
from ptycho_torch.statistics.verdict import Evidence, Verdict, loss_within, status_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthFailure:
    """Whether an arm is shown to fail at depth.

    acceptable: failure rate that is still accepted; p_above: one-sided exact binomial p that the
    rate is above it; excess: logarithm of the ratio of the composite losses, deep to shallow, less
    that of the largest ratio accepted; level: that of both tests.
    """

    rate: FailureRate
    acceptable: float
    p_above: float
    excess: Difference
    level: float

    @property
    def by_rate(self) -> bool:
        """Whether the failure rate is shown to exceed what is acceptable."""
        return self.p_above <= self.level

    @property
    def fails(self) -> bool:
        """Whether the rate, or the loss, is shown to exceed what is acceptable."""
        mean, p = self.excess.mean, self.excess.p
        return self.by_rate or (mean is not None and mean > 0 and (p or 1.0) <= self.level)


def judge_depth(
    deep: str, shallow: str, evidence: Evidence, history: pd.DataFrame, settings: DepthSettings
) -> list[Verdict]:
    """Return a verdict for each of Stage B's conditions on a deep arm, held against itself shallow.

    history: a row per run and epoch, with `arm`, `seed`, `epoch` and `grad_norm_p99`.
    """
    rate = evidence.failures(deep)
    scores = [evidence.median(arm, AMPLITUDE_SSIM) for arm in (deep, shallow)]
    change = None if None in scores else scores[0] - scores[1]  # type: ignore[operator]
    lost = None if change is None else change >= -settings.max_ssim_decrease
    judged: dict[str, tuple[bool | None, dict[str, Any]]] = {
        "no_failures": (not rate.failures, {"rate": rate}),
        "gradient_bounded": _gradient(deep, shallow, evidence.runs, history, settings),
        "loss_matches": loss_within(deep, shallow, evidence, settings.max_loss_increase),
        "ssim_matches": (
            lost,
            {"change": change, "bound": settings.max_ssim_decrease, "other": shallow},
        ),
    }
    return [
        Verdict(arm=deep, condition=condition, status=status_of(met), values=values)
        for condition, (met, values) in judged.items()
    ]


def gradient_bound(runs: pd.DataFrame, shallow: str, factor: float) -> float | None:
    """Return the bound on the gradient norm of deep runs; None if no shallow run has a norm.

    It is `factor` times the largest 99th percentile over the steps of a shallow run.
    """
    seen = runs.loc[runs["arm"] == shallow, "grad_norm_p99"].astype(float).dropna()
    return factor * float(seen.max()) if len(seen) else None


def _gradient(
    deep: str, shallow: str, runs: pd.DataFrame, history: pd.DataFrame, settings: DepthSettings
) -> tuple[bool | None, dict[str, Any]]:
    bound = gradient_bound(runs, shallow, settings.gradient_factor)
    mine = history[history["arm"] == deep]
    norms = mine["grad_norm_p99"].astype(float)
    beyond = mine[(norms > (math.inf if bound is None else bound)) | ~np.isfinite(norms)]
    stopped = (runs["arm"] == deep) & runs["outcome"].isin(("non_finite", "exploded"))
    values = {
        "shallow": shallow,
        "bound": bound,
        "factor": settings.gradient_factor,
        "epochs": len(mine),
        "largest": float(norms.max()) if len(mine) else None,
        "stopped": int(stopped.sum()),
        "beyond": len(beyond),
        "runs_beyond": beyond["seed"].nunique(),
    }
    if bound is None or mine.empty:
        return None, values
    return not (values["stopped"] or values["beyond"]), values


def fails_at_depth(
    runs: pd.DataFrame,
    deep: str,
    shallow: str,
    *,
    acceptable: float,
    most_loss_increase: float,
    level: float,
    settings: StatisticsSettings,
) -> DepthFailure:
    """Return whether an arm is shown to fail at depth.

    It fails if its failure rate is shown to exceed what is acceptable (exact binomial test), or
    its composite loss its shallow self's by more than the accepted fraction (permutation test).
    """
    rate = failure_rate(runs, deep, settings.confidence)
    test = scipy.stats.binomtest(rate.failures, rate.runs, acceptable, alternative="greater")
    mine, theirs = (log_values(runs, arm, COMPOSITE.column) for arm in (deep, shallow))
    excess = estimates.sample_difference(mine - math.log1p(most_loss_increase), theirs, settings)
    return DepthFailure(
        rate=rate, acceptable=acceptable, p_above=float(test.pvalue), excess=excess, level=level
    )
