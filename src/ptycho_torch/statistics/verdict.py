"""Did each arm do what its hypothesis asks, and does it survive depth? In these runs; claims rest
on `compare`, and on `fails_at_depth` in the decision."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.config.evaluation import StatisticsSettings, SuccessSettings
from ptycho_torch.config.stages import DepthSettings
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import values_of
from ptycho_torch.statistics.runs import AMPLITUDE_SSIM, COMPOSITE, LOSS, StageRuns

Judged = tuple[bool | None, dict[str, Any]]
"""Whether a condition is met (None: no run has the number), and the numbers that say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition of one arm, and the numbers that it was judged by.

    condition: key of `SuccessSettings`, or `negative_control`; status: open: no run has the number.
    """

    arm: str
    condition: str
    status: Literal["met", "not met", "open"]
    values: Mapping[str, Any]


def judge_arm(arm: str, success: SuccessSettings, runs: StageRuns) -> list[Verdict]:
    """Return a verdict per condition that is set; a control without one is judged as such."""
    control, medians = runs.stage.control, runs.medians(LOSS)
    rates = {name: runs.failed(name) for name in runs.stage.arms}
    mine, its = rates[arm], rates[control]
    counts = {"rate": mine, "control": its}
    lowest = medians[arm] <= min(medians.values()) if arm in medians else None
    judged: dict[str, Judged] = {
        "lowest_loss": (lowest, {"medians": medians}),
        "no_failures": (not mine.failures, counts),
        "lowest_failure_rate": (mine.rate <= min(r.rate for r in rates.values()), counts),
        "fewer_failures_than_control": (mine.rate < its.rate, counts),
        "max_loss_increase": _loss_within(arm, control, runs, success.max_loss_increase or 0.0),
    }
    asked = {name for name, value in success if value is not None and value is not False}
    if not asked and arm == control:
        return _verdicts(arm, {"negative_control": (mine.failures > 0, counts)})
    return _verdicts(arm, {name: value for name, value in judged.items() if name in asked})


def judge_depth(
    deep: str, shallow: str, runs: StageRuns, history: pd.DataFrame, settings: DepthSettings
) -> list[Verdict]:
    """Return a verdict for each of Stage B's conditions on a deep arm, held against itself shallow.

    history: a row per run and epoch, with `arm`, `seed`, `epoch` and `grad_norm_p99`.
    """
    rate, medians = runs.failed(deep), runs.medians(AMPLITUDE_SSIM)
    bound = settings.max_ssim_decrease
    change = medians[deep] - medians[shallow] if {deep, shallow} <= medians.keys() else None
    kept = None if change is None else change >= -bound
    return _verdicts(deep, {
        "no_failures": (not rate.failures, {"rate": rate}),
        "gradient_bounded": _gradient(deep, shallow, runs, history, settings.gradient_factor),
        "loss_matches": _loss_within(deep, shallow, runs, settings.max_loss_increase),
        "ssim_matches": (kept, {"change": change, "bound": bound, "other": shallow}),
    })  # fmt: skip


def _verdicts(arm: str, judged: Mapping[str, Judged]) -> list[Verdict]:
    words: dict[bool | None, Any] = {None: "open", True: "met", False: "not met"}
    return [
        Verdict(arm=arm, condition=condition, status=words[met], values=values)
        for condition, (met, values) in judged.items()
    ]


def _loss_within(arm: str, other: str, runs: StageRuns, bound: float) -> Judged:
    """Judge whether the median loss of successful runs is at most a fraction above another's."""
    medians = runs.medians(LOSS)
    ratio = medians[arm] / medians[other] if arm in medians and medians.get(other) else None
    values = {"ratio": ratio, "bound": 1 + bound, "other": other}
    return None if ratio is None else ratio <= 1 + bound, values


def _gradient(
    deep: str, shallow: str, runs: StageRuns, history: pd.DataFrame, factor: float
) -> Judged:
    """Judge the norms of a deep arm's epochs by a factor times the largest of a shallow run."""
    seen = runs.runs_of(shallow)["grad_norm_p99"].astype(float).dropna()
    bound = factor * float(seen.max()) if len(seen) else None
    norms = history.loc[history["arm"] == deep, "grad_norm_p99"].astype(float)
    stopped = int(runs.runs_of(deep)["outcome"].isin(("non_finite", "exploded")).sum())
    values = {
        **{"shallow": shallow, "bound": bound, "factor": factor, "stopped": stopped},
        "largest": float(norms.max()) if len(norms) else None,
    }
    if bound is None or norms.empty:
        return None, values
    return not stopped and bool(np.isfinite(norms).all() and (norms <= bound).all()), values


def fails_at_depth(
    runs: pd.DataFrame,
    deep: str,
    shallow: str,
    *,
    acceptable: float,
    most_loss_increase: float,
    level: float,
    settings: StatisticsSettings,
) -> tuple[bool, dict[str, Any]]:
    """Return whether an arm is shown to fail at depth, and the numbers that say so.

    It fails if its failure rate is shown to exceed what is acceptable (`p_above`: exact binomial
    test), or its composite loss its shallow self's by more than the accepted fraction (`excess`:
    logarithm of the ratio, less that of the largest accepted; permutation test).
    """
    rate = estimates.failure_rate(runs, deep, settings.confidence)
    test = scipy.stats.binomtest(rate.failures, rate.runs, acceptable, alternative="greater")
    mine, theirs = (values_of(runs, arm, COMPOSITE) for arm in (deep, shallow))
    excess = estimates.sample_difference(mine - math.log1p(most_loss_increase), theirs, settings)
    by_rate, p_above = bool(test.pvalue <= level), float(test.pvalue)
    by_loss = (excess.mean or 0) > 0 and (excess.p or 1.0) <= level
    values = {"rate": rate, "acceptable": acceptable, "by_rate": by_rate, "p_above": p_above}
    return by_rate or by_loss, {**values, "excess": excess, "level": level}
