"""Summarise a stage: work out what its runs support; write tables, figures and Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.report.collect import Collected, Files, collect
from ptycho_torch.report.rendering import render, say, sentences
from ptycho_torch.statistics.compare import (
    Comparison,
    claim_level,
    compare_failures,
    compare_losses,
    compare_score,
    similarity,
)
from ptycho_torch.statistics.runs import COMPOSITE, MAIN_SCORES, OUTCOMES
from ptycho_torch.statistics.stress import Stress, work_out_stress
from ptycho_torch.statistics.verdict import Verdict, judge_arm, judge_depth

# Medians over all runs of an arm, failed ones too: they say why a run went as it did.
_RUNNING = (
    *("grad_norm_median", "grad_norm_p99", "clipped_share", "epochs"),
    *("wall_s", "samples_per_s", "peak_memory_mib"),
)


def summarise_stage(
    files: Files,
    *,
    dataset: io.PathLike,
    study: Mapping[str, Any],
    stage: str,
    provenance: Mapping[str, Any],
    folder: io.PathLike,
    conventional: Sequence[io.PathLike] = (),
    winner: io.PathLike | None = None,
    plan: io.PathLike | None = None,
) -> None:
    """Write summary.md, appendix.md, CSV tables, two JSON files and the figures of a stage.

    `study` is the configuration in force; `stage` one of its stages; `winner` Stage A's
    `winner.json`, which Stage B needs; `plan` a file whose `sha256` `findings.json` keeps, by which
    the workflow knows a summary of another study. Raises InputError if the configuration is wrong,
    or a file is missing, unreadable or of another run.
    """
    from ptycho_torch.report.figures import write_figures  # matplotlib: slow to import

    parsed, folder = parse_study(study, "study"), Path(folder)
    won = None if winner is None else io.read_json(winner)["winner"]
    planned = stage_plan(parsed, stage, won)
    collected = collect(files, parsed, planned, dataset=dataset, conventional=conventional)
    made_for = {} if plan is None else io.read_json(plan)
    values = work_out(collected, provenance, made_for.get("looked", []))
    for name, table in of_stage(values).items():
        io.write_csv(folder / name, table)
    io.write_json(folder / "study.json", parsed.published())
    write_figures(collected, values["stress"], folder)
    findings = _findings(collected, values["claims"]) | {"plan_sha256": made_for.get("sha256")}
    io.write_json(folder / "findings.json", findings)
    for name, text in put_into_words(values).items():
        io.write_text(folder / name, text)


def write_look(
    files: Files, *, dataset: io.PathLike, study: Mapping[str, Any], stage: str, output: io.PathLike
) -> None:
    """Write a planned look: the arms that are undecided with the seeds so far, and nothing else.

    Raises InputError as the stage's summary does.
    """
    parsed = parse_study(study, "study")
    claims, _ = _claims(collect(files, parsed, stage_plan(parsed, stage), dataset=dataset))
    io.write_json(output, {"undecided": [item.arm for item in claims if item.state == "undecided"]})


def work_out(
    collected: Collected, provenance: Mapping[str, Any], looked: Sequence[int] = ()
) -> dict[str, Any]:
    """Return what the runs of a stage support: the values that its templates take.

    `looked`: seeds per arm of summaries that came before.
    """
    study, stage, runs = collected.study, collected.stage, collected.runs
    pairs, settings = list(stage.pairs), study.statistics
    claims, stress = _claims(collected)
    losses = compare_losses(runs, pairs, settings)
    scores = [compare_score(runs, pairs, score, settings) for score in MAIN_SCORES]
    failures = compare_failures(runs, pairs, settings)
    return {
        "f": collected,
        "study": study,
        "stage": stage,
        "statistics": settings,
        "claims": claims,
        "level": claim_level(stage),
        # Arm by arm, not score by score.
        "exploratory": [
            item for of_arm in zip(losses, *scores, failures, strict=True) for item in of_arm
        ],
        "verdicts": _verdicts(collected),
        "sweep": _sweep(collected, losses),
        "stress": stress,
        "looked": looked,
        "made": provenance,
    }


def _claims(collected: Collected) -> tuple[list[Comparison], Stress | None]:
    """Return the comparisons of a stage's primary family, and all else of the stress stage."""
    runs, stage, settings = collected.runs, collected.stage, collected.study.statistics
    if not stage.grid:
        return compare_losses(runs, stage.primary, settings, claim_level(stage)), None
    stress = work_out_stress(runs, stage, collected.constant_loss, settings)
    return stress.comparisons, stress


def _verdicts(collected: Collected) -> list[Verdict]:
    """Return what is judged: hypotheses in Stage A, survival at depth in Stage B and the pivot."""
    study, stage, judged = collected.study, collected.stage, []
    if stage.name == "stage_a":
        judged = [judge_arm(arm, study.arms[arm].success, collected) for arm in stage.arms]
    elif (bounds := study.stage_b) is not None:
        judged = [judge_depth(*p, collected, collected.history, bounds) for p in stage.depth]
    return [verdict for of_arm in judged for verdict in of_arm]


def _sweep(collected: Collected, losses: Sequence[Comparison]) -> dict[str, Any] | None:
    """Return how the results depend on the setting that a stage varies, if it varies one.

    `at` has the values by state beside the control: same, apart, alike, open.
    """
    variants = collected.variants
    if not variants:
        return None
    margin = collected.study.sweeps[collected.stage.name].alike_within
    several = len({variant.base for variant in variants.values()}) > 1
    at: dict[str, list[str]] = {"same": [], "apart": [], "alike": [], "open": []}
    for item in losses:
        label = f"`{item.arm}`" if several else variants[item.arm].label()
        at[similarity(item, margin)].append(label)
    failing = next((arm for arm in variants if collected.failed(arm).failures), None)
    return {"at": at, "margin": margin, "first_failing": failing}


def put_into_words(values: Mapping[str, Any]) -> dict[str, str]:
    """Return a stage's documents by file name."""
    answer = sentences("answer.md.j2", **values)
    return {
        "summary.md": render("stage.md.j2", answer=answer, **values),
        "appendix.md": render("appendix.md.j2", **values),
    }


def _findings(collected: Collected, claims: Sequence[Comparison]) -> dict[str, Any]:
    """Return `findings.json`: what the documents of the whole study say of this stage."""
    return {
        **{key: getattr(collected.stage, key) for key in ("title", "question", "dataset")},
        **{key: getattr(collected, key) for key in ("baselines", "constant_loss")},
        "claims": [
            {key: getattr(item, key) for key in ("arm", "other", "state")}
            | {"sentence": say("answered", item, collected.study.statistics)}
            for item in claims
        ],
    }


def of_stage(values: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return file name -> table, of what `work_out` returns."""
    collected: Collected = values["f"]
    arms = collected.stage.arms
    rows = [_arm(collected, arm) for arm in arms]
    for name, scores in collected.baselines.items():
        medians = {f"best_{key}_median": value for key, value in scores.items()}
        rows.append({"kind": "baseline", "arm": name, **medians})
    curves = pd.concat({arm: collected.survival(arm) for arm in arms}, names=["arm"])
    stress: Stress | None = values["stress"]
    more = {"curves.csv": pd.DataFrame(stress.curves), "areas.csv": stress.areas} if stress else {}
    return {
        **more,
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
    of_best = [column for column in map(str, runs) if column.startswith("best_")]
    for column in ("last_val_loss", COMPOSITE.column, "twin_share", *of_best):
        spread = collected.spread(arm, column)
        found = {"n": spread.n, "median": spread.median, "q1": spread.low, "q3": spread.high}
        row |= {f"{column}_{key}": value for key, value in found.items()}
    return row


def _comparisons(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per comparison: those that may claim something, then the exploratory ones."""
    return pd.DataFrame([
        {
            **{"arm": item.arm, "control": item.other, "score": item.score.column},
            **{"family": "primary" if item.level else "exploratory", "n": item.n},
            "difference": item.mean,
            "low": item.interval and item.interval.low,
            "high": item.interval and item.interval.high,
            **{key: getattr(item, key) for key in ("p", "least_p", "p_holm", "level", "state")},
        }
        for item in (*values["claims"], *values["exploratory"])
    ])  # fmt: skip
