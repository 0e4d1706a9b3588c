"""Summarise a stage: work out what its runs support; write tables, figures and Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptycho_torch.config.arms import numbers_of
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.collect import Collected, Files, collect
from ptycho_torch.report.rendering import render, say, sentences
from ptycho_torch.report.summarise import tables
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.compare import (
    Comparison,
    compare_failures,
    compare_score,
    with_seeds,
)
from ptycho_torch.statistics.depth import judge_depth
from ptycho_torch.statistics.trend import failure_trend, first_failing, loss_trend, similarity
from ptycho_torch.statistics.verdict import Evidence, Verdict, judge_arm


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
    """Write summary.md, five CSV tables, two JSON files and the figures (PNG and SVG) of a stage.

    `study` is the configuration in force, as nested mappings; `stage` is `stage_a`, `stage_b`,
    `pivot` or a sweep; `winner` is Stage A's `winner.json`, which Stage B needs; `plan` is a file
    whose `sha256` `findings.json` keeps, by which the workflow knows a summary of another study.
    Raises InputError if the configuration is wrong, or a file is missing, unreadable or of another
    run.
    """
    from ptycho_torch.report.figures.stage import write_figures  # matplotlib: slow to import

    parsed, won = parse_study(study, "study"), None
    if winner is not None and not isinstance(won := io.read_json(winner).get("winner"), str):
        raise InputError(f"{winner}: lacks 'winner'; delete it and run again")
    try:
        planned = stage_plan(parsed, stage, won)
    except ValueError as error:
        raise InputError(f"study: {error}") from None
    collected = collect(files, parsed, planned, dataset=dataset, conventional=conventional)
    values = work_out(collected, provenance, won)
    answer, text = put_into_words(values)
    folder = Path(folder)
    for name, table in tables.of_stage(values).items():
        io.write_csv(folder / name, table)
    io.write_json(folder / "study.json", parsed.published())
    write_figures(collected, folder)
    made_for = {"plan_sha256": None if plan is None else io.read_json(plan)["sha256"]}
    io.write_json(folder / "findings.json", _findings(values, answer) | made_for)
    io.write_text(folder / "summary.md", text)


def work_out(
    collected: Collected, provenance: Mapping[str, Any], winner: str | None = None
) -> dict[str, Any]:
    """Return what the runs of a stage support: the values that its template takes."""
    study, stage, runs = collected.study, collected.stage, collected.runs
    pairs, settings = list(stage.pairs), study.statistics
    by_score = [compare_score(runs, pairs, score, settings) for score in collected.main_scores]
    tests = compare_failures(runs, pairs, settings)
    # Arm by arm, not score by score.
    comparisons = [
        with_seeds(item, runs, settings)
        for of_arm in zip(*by_score, strict=True)
        for item in of_arm
    ]
    failure_tests = [with_seeds(item, runs, settings) for item in tests]
    evidence = Evidence(runs=runs, stage=stage, loss=collected.loss, settings=settings)
    return {
        "f": collected,
        "study": study,
        "stage": stage,
        "statistics": settings,
        "comparisons": comparisons,
        "failure_tests": failure_tests,
        "verdicts": _verdicts(collected, evidence),
        "sweep": _sweep(collected, evidence, [*by_score[0], *tests]),
        "winner": winner,
        "made": provenance,
    }


def _verdicts(collected: Collected, evidence: Evidence) -> list[Verdict]:
    """Return what is judged: hypotheses in Stage A, survival at depth in Stage B and the pivot."""
    study, stage = collected.study, collected.stage
    if stage.name == "stage_a":
        judged = [judge_arm(arm, study.arms[arm].success, evidence) for arm in stage.arms]
    else:
        judged = [
            judge_depth(arm, shallow, evidence, collected.history, study.stage_b)
            for arm, shallow in stage.depth
            if study.stage_b is not None
        ]
    return [verdict for of_arm in judged for verdict in of_arm]


def _sweep(
    collected: Collected, evidence: Evidence, comparisons: Sequence[Comparison]
) -> dict[str, Any] | None:
    """Return how the results depend on the setting that a stage varies, if it varies one.

    `labels` has the values by state beside the control: same, differs, alike, undecided.
    """
    stage, variants = collected.stage, collected.variants
    if not variants:
        return None
    margin, arms = collected.study.sweeps[stage.name].alike_within, list(variants)
    runs = collected.runs[collected.runs["arm"].isin(arms)]
    failed = runs["failed"].astype(bool).tolist()
    states = {
        arm: similarity(arm, stage.control, comparisons, evidence, margin)
        for arm in arms
        if arm != stage.control
    }
    same = [arm for arm, found in states.items() if found.state == "same"]
    clipped = collected.runs.loc[
        collected.runs["arm"].isin([*same, stage.control]), "clipped_share"
    ]
    never_clipped = bool((clipped == 0).all())
    labels: dict[str, list[str]] = {"same": [], "differs": [], "alike": [], "undecided": []}
    for arm, found in states.items():
        labels[found.state].append(variants[arm].label())
    keys = [key for key, _ in next(iter(variants.values())).changes]
    ranks, confidence = (
        [float(arms.index(arm)) for arm in runs["arm"]],
        evidence.settings.confidence,
    )
    ordered = bool(numbers_of(list(variants.values())))
    return {
        "varied": keys,
        "about_clipping": any(key.startswith("execution.clip.") for key in keys),
        "margin": margin,
        "states": states,
        "labels": labels,
        "never_clipped": never_clipped,
        "first_failing": first_failing(arms, runs),
        "failures": sum(failed),
        "runs": len(runs),
        "loss_trend": loss_trend(arms, evidence) if ordered else None,
        "failure_trend": failure_trend(ranks, failed, confidence=confidence) if ordered else None,
    }


def put_into_words(values: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the sentences that answer the stage's question, and the summary in Markdown."""
    answer = sentences("answer.md.j2", **values)
    return answer, render("stage.md.j2", answer=answer, **values)


def _findings(values: Mapping[str, Any], answer: Sequence[str]) -> dict[str, Any]:
    """Return `findings.json`: what other documents say of this stage."""
    collected: Collected = values["f"]
    stage, settings = collected.stage, values["statistics"]
    verdicts = [
        {
            **{key: getattr(item, key) for key in ("arm", "condition", "status")},
            "sentence": say("verdict", item, settings),
        }
        for item in values["verdicts"]
    ]
    return {
        **{key: getattr(stage, key) for key in ("name", "title", "question", "dataset", "control")},
        "answer": list(answer),
        "arms": list(stage.arms),
        "winner": values["winner"],
        "loss": collected.loss.column,
        "verdicts": verdicts,
        "baselines": collected.baselines,
        "conventional": collected.conventional,
        "noise_floor": collected.noise_floor,
        "constant_loss": collected.constant_loss,
        "undefined": collected.undefined,
    }
