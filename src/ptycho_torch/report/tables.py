"""Tables of a stage: its runs, arms, comparisons, histories and survival."""

from typing import Any

import pandas as pd

from ptycho_torch.report.rendering import say
from ptycho_torch.report.summarise.findings import Findings
from ptycho_torch.statistics.scores import OUTCOMES

# Medians over all runs of an arm, failed ones too: they say why a run went as it did.
_RUNNING = (
    *("grad_norm_median", "grad_norm_p99", "clipped_share", "epochs"),
    *("wall_s", "samples_per_s", "peak_memory_mib"),
)


def of_stage(findings: Findings) -> dict[str, pd.DataFrame]:
    """Return file name -> table."""
    return {
        "runs.csv": findings.runs,
        "arms.csv": _arms(findings),
        "comparisons.csv": _comparisons(findings),
        "history.csv": findings.collected.history,
        "survival.csv": _survival(findings),
    }


def _arms(findings: Findings) -> pd.DataFrame:
    """Return a row per arm, then one per baseline; n of every median is beside it."""
    rows: list[dict[str, Any]] = [_arm(findings, arm) for arm in findings.stage.arms]
    for name, scores in findings.collected.baselines.items():
        medians = {f"best_{key}_median": value for key, value in scores.items()}
        rows.append({"kind": "baseline", "arm": name, **medians})
    return pd.DataFrame(rows)


def _arm(findings: Findings, arm: str) -> dict[str, Any]:
    runs, failed, settings = findings.runs_of(arm), findings.failed(arm), findings.settings(arm)
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
        **{name: findings.median(arm, name) for name in _RUNNING},
        "grad_norm_max": runs["grad_norm_max"].astype(float).max(),
    }
    for score in findings.all_scores:
        values = findings.spread(arm, score)
        row |= {
            f"{score.column}_n": values.n,
            f"{score.column}_median": values.median,
            f"{score.column}_q1": values.low,
            f"{score.column}_q3": values.high,
        }
    return row


def _comparisons(findings: Findings) -> pd.DataFrame:
    """Return a row per comparison, with its conclusion in words."""
    settings = findings.study.statistics
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
            "conclusion": say("conclusion", item, settings),
            "seeds_needed": item.seeds.seeds if item.seeds else None,
            "seeds_sentence": say("seeds_sentence", item, settings),
        }
        for item in (*findings.comparisons, *findings.failure_tests)
    ]
    columns = (
        *("arm", "control", "score", "n", "difference", "low", "high"),
        *("p", "p_holm", "least_p", "state", "conclusion", "seeds_needed", "seeds_sentence"),
    )
    # 13, not 13.0, beside empty cells.
    return pd.DataFrame(rows, columns=columns).astype({"seeds_needed": "Int64"})


def _survival(findings: Findings) -> pd.DataFrame:
    """Return a row per arm and step of its Kaplan-Meier curve."""
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
            for arm in findings.stage.arms
            for step in findings.survival(arm)
        ]
    )
