"""Tables of a stage: its runs, arms, comparisons, histories and survival."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptycho_torch.report.collect import Collected
from ptycho_torch.report.rendering import say
from ptycho_torch.statistics.estimates import Interval
from ptycho_torch.statistics.scores import (
    COMPLEX_ERROR,
    COMPLEX_ERROR_SYNCHRONISED,
    COMPOSITE,
    IMAGE_SCORES,
    LAST_LOSS,
    OUTCOMES,
    TWIN_SHARE,
)
from ptycho_torch.statistics.stress import Stress

# Medians over all runs of an arm, failed ones too: they say why a run went as it did.
_RUNNING = (
    *("grad_norm_median", "grad_norm_p99", "clipped_share", "epochs"),
    *("wall_s", "samples_per_s", "peak_memory_mib"),
)
_SCORES = (
    *(LAST_LOSS, COMPOSITE, *IMAGE_SCORES, COMPLEX_ERROR, COMPLEX_ERROR_SYNCHRONISED, TWIN_SHARE),
)
_COMPARISON = (
    *("arm", "control", "score", "family", "n", "difference", "low", "high"),
    *("p", "least_p", "p_holm", "level", "state", "sentence"),
)
CURVE_KEYS = (
    *("arm", "depth", "area", "relative", "rise", "best_rate", "best_loss", "bears", "breaks"),
)
_SURVIVAL = ("arm", "epoch", "survival", "low", "high", "at_risk", "failures")


def of_stage(values: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return file name -> table, of what `stage.work_out` returns."""
    collected: Collected = values["f"]
    arms = collected.stage.arms
    rows: list[dict[str, Any]] = [_arm(collected, arm) for arm in arms]
    for name, scores in collected.baselines.items():
        medians = {f"best_{key}_median": value for key, value in scores.items()}
        rows.append({"kind": "baseline", "arm": name, **medians})
    steps = [
        (arm, step.epoch, step.survival, *_ends(step.interval), step.at_risk, step.failures)
        for arm in arms
        for step in collected.survival(arm)
    ]
    return {
        **(of_stress(values["stress"]) if values["stress"] else {}),
        "runs.csv": collected.runs,
        "arms.csv": pd.DataFrame(rows),
        "comparisons.csv": _comparisons(values),
        "history.csv": collected.history,
        "survival.csv": pd.DataFrame(steps, columns=_SURVIVAL),
    }


def _arm(collected: Collected, arm: str) -> dict[str, Any]:
    """Return the row of an arm; n of every median is beside it."""
    runs, failed, settings = collected.runs_of(arm), collected.failed(arm), collected.settings[arm]
    row: dict[str, Any] = {
        "kind": "arm",
        "arm": arm,
        "generator": settings["generator"]["name"],
        "clip": settings["execution"]["clip"]["gradient_clip_algorithm"],
        "runs": failed.runs,
        "failures": failed.failures,
        "failure_rate": failed.rate,
        "failure_rate_low": failed.interval.low,
        "failure_rate_high": failed.interval.high,
        **{outcome: int((runs["outcome"] == outcome).sum()) for outcome in OUTCOMES},
        "parameters_full": runs["parameters_full"].iloc[0],
        **{name: collected.median(arm, name) for name in _RUNNING},
        "grad_norm_max": runs["grad_norm_max"].astype(float).max(),
    }
    for score in (collected.loss, *_SCORES):
        spread = collected.spread(arm, score)
        row[f"{score.column}_n"] = spread.n
        row[f"{score.column}_median"] = spread.median
        row[f"{score.column}_q1"] = spread.low
        row[f"{score.column}_q3"] = spread.high
    return row


def _comparisons(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per comparison: those that may claim something, then the exploratory ones."""
    items = [*values["claims"], *values["exploratory"]]
    rows = [
        (
            *(item.arm, item.other, item.score, "primary" if item.level else "exploratory"),
            *(item.n, item.estimate),
            *(*_ends(item.interval), item.p, item.least_p, item.p_holm, item.level, item.state),
            say("claim", item, values["statistics"]),
        )
        for item in items
    ]
    return pd.DataFrame(rows, columns=_COMPARISON)


def of_stress(stress: Stress) -> dict[str, pd.DataFrame]:
    """Return a row per arm and depth, and a row per arm and seed."""
    curves = []
    for curve in stress.curves:
        row = {key: getattr(curve, key) for key in CURVE_KEYS}
        failed = curve.failed
        row |= {"failures": failed and failed.failures, "runs": failed and failed.runs}
        curves.append(row)
    seeds = stress.points["seed"].unique()
    areas = [
        (arm, seed, area)
        for arm, values in stress.areas.items()
        for seed, area in zip(seeds, values, strict=False)  # Looks end some arms earlier.
    ]
    return {
        "curves.csv": pd.DataFrame(curves),
        "areas.csv": pd.DataFrame(areas, columns=("arm", "seed", "area")),
    }


def _ends(interval: Interval | None) -> tuple[float, float] | tuple[None, None]:
    return (interval.low, interval.high) if interval else (None, None)
