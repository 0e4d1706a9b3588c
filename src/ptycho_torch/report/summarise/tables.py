"""Tables per arm: how often it failed, what its successful runs score, how long it lasted."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.study import Study
from ptycho_torch.report.summarise.collect import Collected
from ptycho_torch.report.wording import conclusion, seeds_sentence
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.estimates import SurvivalStep
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import (
    COMPLEX_ERROR,
    IMAGE_SCORES,
    LAST_LOSS,
    OUTCOMES,
    REASSEMBLED,
    TWIN_SHARE,
    Score,
)

# Medians over all runs of an arm, failed ones too: they say why a run went as it did.
_RUNNING = (
    *("grad_norm_median", "grad_norm_p99", "clipped_share", "epochs"),
    *("wall_s", "samples_per_s", "peak_memory_mib"),
)


def all_scores(loss: Score) -> list[Score]:
    """Return the losses, every score of the best weights, and the share on the twin."""
    return [loss, LAST_LOSS, *IMAGE_SCORES, COMPLEX_ERROR, REASSEMBLED, TWIN_SHARE]


def arms_table(
    collected: Collected, study: Study, arms: Sequence[str], loss: Score
) -> pd.DataFrame:
    """Return `arms.csv`: a row per arm, then one per baseline; n of every median is beside it."""
    rows: list[dict[str, Any]] = []
    for arm in arms:
        runs = collected.runs[collected.runs["arm"] == arm]
        failed = failure_rate(runs, arm, study.statistics.confidence)
        settings = run_settings(study, str(runs["dataset"].iloc[0]), arm, seed=0)
        row: dict[str, Any] = {
            "kind": "arm",
            "arm": arm,
            "generator": settings.generator.name,
            "clip": settings.execution.clip.gradient_clip_algorithm,
            "runs": failed.runs,
            "failures": failed.failures,
            "failure_rate": failed.failures / failed.runs,
            "failure_rate_low": failed.interval.low,
            "failure_rate_high": failed.interval.high,
            **{outcome: int((runs["outcome"] == outcome).sum()) for outcome in OUTCOMES},
            "parameters_full": runs["parameters_full"].iloc[0],
            **{name: _median(runs, name) for name in _RUNNING},
            "grad_norm_max": runs["grad_norm_max"].astype(float).max(),
        }
        for score in all_scores(loss):
            values = score_spread(runs, arm, score.column)
            row |= {
                f"{score.column}_n": values.n,
                f"{score.column}_median": values.median,
                f"{score.column}_q1": values.low,
                f"{score.column}_q3": values.high,
            }
        rows.append(row)
    for name, scores in collected.baselines.items():
        medians = {f"best_{key}_median": value for key, value in scores.items()}
        rows.append({"kind": "baseline", "arm": name, **medians})
    return pd.DataFrame(rows)


def survival_steps(runs: pd.DataFrame, arm: str, confidence: float) -> list[SurvivalStep]:
    """Return an arm's Kaplan-Meier curve of the time to failure, in epochs."""
    mine = runs[runs["arm"] == arm]
    failed = mine["failed"].astype(bool)
    return estimates.kaplan_meier(
        [int(epoch) for epoch in mine.loc[failed, "failure_epoch"]],
        [int(epoch) for epoch in mine.loc[~failed, "epochs"]],
        confidence,
    )


def survival_table(curves: Mapping[str, Sequence[SurvivalStep]]) -> pd.DataFrame:
    """Return `survival.csv`: a row per arm and step of its curve."""
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "epoch": step.epoch,
                "survival": step.survival,
                "low": step.interval.low if step.interval else None,
                "high": step.interval.high if step.interval else None,
                "at_risk": step.at_risk,
                "failures": step.failures,
            }
            for arm, curve in curves.items()
            for step in curve
        ]
    )


def _median(runs: pd.DataFrame, column: str) -> float | None:
    return estimates.spread(runs[column].astype(float).tolist()).median


def comparisons_table(
    comparisons: Sequence[Comparison], settings: StatisticsSettings
) -> pd.DataFrame:
    """Return `comparisons.csv`: a row per comparison, with its conclusion in words."""
    rows = [
        {
            "arm": item.arm,
            "control": item.other,
            "score": item.score,
            "n": item.n,
            "difference": item.estimate,
            "low": item.interval.low if item.interval else None,
            "high": item.interval.high if item.interval else None,
            "p": item.p,
            "p_holm": item.p_holm,
            "least_p": item.least_p,
            "state": item.state,
            "conclusion": conclusion(item, settings),
            "seeds_needed": item.seeds.seeds if item.seeds else None,
            "seeds_sentence": seeds_sentence(item.seeds, settings),
        }
        for item in comparisons
    ]
    columns = (
        *("arm", "control", "score", "n", "difference", "low", "high"),
        *("p", "p_holm", "least_p", "state", "conclusion", "seeds_needed", "seeds_sentence"),
    )
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"seeds_needed": "Int64"})  # 13, not 13.0, beside empty cells
