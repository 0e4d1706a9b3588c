"""Summarise a stage: work out what its runs support; write tables, figures and Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.collect import Collected, Files, collect
from ptycho_torch.report.rendering import render, say, sentences
from ptycho_torch.report.summarise import tables
from ptycho_torch.statistics.compare import (
    Comparison,
    claim_level,
    compare_failures,
    compare_losses,
    compare_score,
    similarity,
)
from ptycho_torch.statistics.stress import Stress, work_out_stress
from ptycho_torch.statistics.verdict import Verdict, judge_arm, judge_depth


def summarise_stage(
    files: Files,
    *,
    dataset: PathLike,
    study: Mapping[str, Any],
    stage: str,
    provenance: Mapping[str, Any],
    folder: PathLike,
    conventional: Sequence[PathLike] = (),
    winner: PathLike | None = None,
    plan: PathLike | None = None,
) -> None:
    """Write summary.md, appendix.md, CSV tables, two JSON files and the figures (PNG and SVG) of a
    stage.

    `study` is the configuration in force; `stage` one of its stages; `winner` Stage A's
    `winner.json`, which Stage B needs; `plan` a file whose `sha256` `findings.json` keeps, by which
    the workflow knows a summary of another study. Raises InputError if the configuration is wrong,
    or a file is missing, unreadable or of another run.
    """
    from ptycho_torch.report.figures.stage import write_figures  # matplotlib: slow to import

    parsed, folder = parse_study(study, "study"), Path(folder)
    won = None if winner is None else io.read_json(winner)["winner"]
    planned = stage_plan(parsed, stage, won)
    collected = collect(files, parsed, planned, dataset=dataset, conventional=conventional)
    made_for = {} if plan is None else io.read_json(plan)
    values = work_out(collected, provenance, made_for.get("looked", []))
    _, texts = put_into_words(values)
    for name, table in tables.of_stage(values).items():
        io.write_csv(folder / name, table)
    io.write_json(folder / "study.json", parsed.published())
    write_figures(collected, values["stress"], folder)
    findings = _findings(collected, values["claims"]) | {"plan_sha256": made_for.get("sha256")}
    io.write_json(folder / "findings.json", findings)
    for name, text in texts.items():
        io.write_text(folder / name, text)


def write_look(
    files: Files, *, dataset: PathLike, study: Mapping[str, Any], stage: str, output: PathLike
) -> None:
    """Write a planned look: the arms that are undecided with the seeds so far, and the claims.

    Raises InputError as the stage's summary does.
    """
    parsed = parse_study(study, "study")
    plan = stage_plan(parsed, stage)
    collected = collect(files, parsed, plan, dataset=dataset)
    claims, _ = _claims(collected)
    io.write_json(
        output,
        {
            "seeds": int(collected.runs.groupby("arm").size().max()),
            "undecided": [item.arm for item in claims if item.better is None],
            "claims": [say("answered", item, parsed.statistics) for item in claims],
        },
    )


def work_out(
    collected: Collected,
    provenance: Mapping[str, Any],
    looked: Sequence[int] = (),
) -> dict[str, Any]:
    """Return what the runs of a stage support: the values that its templates take.

    `looked`: seeds per arm of summaries that came before.
    """
    study, stage, runs = collected.study, collected.stage, collected.runs
    pairs, settings = list(stage.pairs), study.statistics
    claims, stress = _claims(collected)
    losses = compare_losses(runs, pairs, settings)
    scores = [compare_score(runs, pairs, score, settings) for score in collected.main_scores]
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
    return list(stress.comparisons), stress


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

    `labels` has the values by state beside the control: same, apart, alike, open.
    """
    stage, runs, variants = collected.stage, collected.runs, collected.variants
    if not variants:
        return None
    margin = collected.study.sweeps[stage.name].alike_within
    beside = {item.arm: item for item in losses}
    states = {arm: similarity(item, runs, margin) for arm, item in beside.items()}
    several = len({variant.base for variant in variants.values()}) > 1
    named = {arm: f"`{arm}`" if several else variant.label() for arm, variant in variants.items()}
    return {
        "varied": [key for key, _ in next(iter(variants.values())).changes],
        "margin": margin,
        "beside": beside,
        "states": states,
        "labels": {
            state: [named[arm] for arm, its in states.items() if its == state]
            for state in ("same", "apart", "alike", "open")
        },
        "first_failing": next((arm for arm in variants if collected.failed(arm).failures), None),
        "runs": int(runs["arm"].isin(variants).sum()),
    }


def put_into_words(values: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the sentences that answer the stage's question, and its documents by file name."""
    answer = sentences("answer.md.j2", **values)
    return answer, {
        "summary.md": render("stage.md.j2", answer=answer, **values),
        "appendix.md": render("appendix.md.j2", **values),
    }


def _findings(collected: Collected, claims: Sequence[Comparison]) -> dict[str, Any]:
    """Return `findings.json`: what the documents of the whole study say of this stage."""
    settings = collected.study.statistics
    return {
        **{key: getattr(collected.stage, key) for key in ("title", "question", "dataset")},
        **{key: getattr(collected, key) for key in ("baselines", "constant_loss")},
        "claims": [
            {
                **{key: getattr(item, key) for key in ("arm", "other", "state")},
                "sentence": say("answered", item, settings),
            }
            for item in claims
        ],
    }
