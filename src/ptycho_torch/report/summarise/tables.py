"""Tables of a stage: its runs, arms, comparisons, histories and survival."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptycho_torch.report.collect import Collected
from ptycho_torch.statistics.runs import score_spread
from ptycho_torch.statistics.scores import COMPOSITE, IMAGE_NAMES, OUTCOMES
from ptycho_torch.statistics.stress import Stress

# Medians over all runs of an arm, failed ones too: they say why a run went as it did.
_RUNNING = (
    *("grad_norm_median", "grad_norm_p99", "clipped_share", "epochs"),
    *("wall_s", "samples_per_s", "peak_memory_mib"),
)
_SCORES = (
    *("last_val_loss", COMPOSITE.column, *(f"best_{name}" for name in IMAGE_NAMES)),
    *("best_complex_error", "best_complex_error_synchronised", "twin_share"),
)


def of_stage(values: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return file name -> table, of what `stage.work_out` returns."""
    collected: Collected = values["f"]
    arms = collected.stage.arms
    rows = [_arm(collected, arm) for arm in arms]
    for name, scores in collected.baselines.items():
        medians = {f"best_{key}_median": value for key, value in scores.items()}
        rows.append({"kind": "baseline", "arm": name, **medians})
    curves = pd.concat({arm: collected.survival(arm) for arm in arms}, names=["arm"])
    return {
        **(of_stress(values["stress"]) if values["stress"] else {}),
        "runs.csv": collected.runs,
        "arms.csv": pd.DataFrame(rows),
        "comparisons.csv": _comparisons(values),
        "history.csv": collected.history,
        "survival.csv": curves.reset_index("arm"),
    }


def _arm(collected: Collected, arm: str) -> dict[str, Any]:
    """Return the row of an arm; n of every median is beside it."""
    runs, failed = collected.runs_of(arm), collected.failed(arm)
    row: dict[str, Any] = {
        "kind": "arm",
        "arm": arm,
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
    for column in (collected.loss.column, *_SCORES):
        spread = score_spread(collected.runs, arm, column)
        found = {"n": spread.n, "median": spread.median, "q1": spread.low, "q3": spread.high}
        row |= {f"{column}_{key}": value for key, value in found.items()}
    return row


def _comparisons(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per comparison: those that may claim something, then the exploratory ones."""
    tests = ("p", "least_p", "p_holm", "level", "state")
    return pd.DataFrame([
        {
            **{"arm": item.arm, "control": item.other, "score": item.score.column},
            **{"family": "primary" if item.level else "exploratory", "n": item.n},
            "difference": item.mean,
            "low": item.interval and item.interval.low,
            "high": item.interval and item.interval.high,
            **{key: getattr(item, key) for key in tests},
        }
        for item in (*values["claims"], *values["exploratory"])
    ])  # fmt: skip


def of_stress(stress: Stress) -> dict[str, pd.DataFrame]:
    """Return a row per arm and depth, and a row per arm and seed."""
    seeds = stress.points["seed"].unique()  # Looks end some arms earlier.
    by_seed = {arm: pd.Series(values, seeds[: len(values)]) for arm, values in stress.areas.items()}
    areas = pd.concat(by_seed, names=["arm", "seed"]).reset_index(name="area")
    return {"curves.csv": pd.DataFrame(stress.curves), "areas.csv": areas}
