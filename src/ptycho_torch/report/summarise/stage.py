"""Summarise a stage: read its runs, work out what they support, write tables, figures, Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report import tables
from ptycho_torch.report.collect import Collected, Files, collect
from ptycho_torch.report.rendering import render, say, sentences
from ptycho_torch.report.summarise.findings import Findings
from ptycho_torch.report.summarise.sweep import judge_sweep
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.compare import (
    FAILURE_RATE,
    compare_failures,
    compare_score,
    with_seeds,
)
from ptycho_torch.statistics.depth import judge_depth
from ptycho_torch.statistics.scores import RECONSTRUCTION_SCORES, loss_score
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
) -> None:
    """Write summary.md, five CSV tables, two JSON files and the figures (PNG and SVG) of a stage.

    Parameters
    ----------
    files
        `run.json`, `timing.json`, `history.csv`, `metrics.json` and `reconstruction.npz` of every
        run of the stage, by the kinds of `collect.KINDS`.
    dataset
        `dataset.json` of the stage's dataset.
    study
        The configuration in force, as nested mappings.
    stage
        `stage_a`, `stage_b`, `pivot`, or the name of a sweep.
    provenance
        What `provenance.collect_provenance` returns.
    folder
        Where to write.
    conventional
        `metrics.json` and `progress.json` of its conventional reconstruction; none: not requested.
    winner
        `winner.json` of Stage A, which Stage B needs.

    Raises
    ------
    InputError
        If the configuration is wrong, or a file is missing, unreadable or of another run.
    """
    from ptycho_torch.report.figures.stage import write_figures  # matplotlib: slow to import

    parsed, won = parse_study(study, "study"), read_winner(winner)
    try:
        plan = stage_plan(parsed, stage, won)
    except ValueError as error:
        raise InputError(f"study: {error}") from None
    collected = collect(files, plan, dataset=dataset, conventional=conventional)
    findings = work_out(collected, parsed, stage, provenance, winner=won)
    folder = Path(folder)
    answer, text = put_into_words(findings)
    for name, table in tables.of_stage(findings).items():
        io.write_csv(folder / name, table)
    io.write_json(folder / "study.json", parsed.published())
    write_figures(findings, folder)
    io.write_json(folder / "findings.json", _findings(findings, answer))
    io.write_text(folder / "summary.md", text)


def read_winner(path: PathLike | None) -> str | None:
    """Return the winner that `winner.json` names; None without a file."""
    if path is None:
        return None
    found = io.read_json(path).get("winner")
    if not isinstance(found, str):
        raise InputError(f"{path}: lacks 'winner'; delete it and run again")
    return found


def work_out(
    collected: Collected,
    study: Study,
    name: str,
    provenance: Mapping[str, Any],
    winner: str | None = None,
) -> Findings:
    """Return what the runs of a stage support."""
    stage, runs, settings = stage_plan(study, name, winner), collected.runs, study.statistics
    loss = loss_score(runs["val_loss_name"].tolist())
    pairs = list(stage.pairs)
    scores = (loss, *RECONSTRUCTION_SCORES)
    by_score = [compare_score(runs, pairs, score, settings) for score in scores]
    # Arm by arm, not score by score.
    by_arm = [item for arm in zip(*by_score, strict=True) for item in arm]
    comparisons = [with_seeds(item, runs, settings) for item in by_arm]
    failures = [with_seeds(i, runs, settings) for i in compare_failures(runs, pairs, settings)]
    evidence = Evidence(runs=runs, stage=stage, loss=loss, settings=settings)
    judged = [i for i in (*comparisons, *failures) if i.score in (loss.column, FAILURE_RATE.column)]
    return Findings(
        stage=stage,
        winner=winner,
        study=study,
        collected=collected,
        loss=loss,
        comparisons=comparisons,
        failure_tests=failures,
        verdicts=_verdicts(study, evidence, collected),
        sweep=judge_sweep(study, evidence, judged) if name in study.sweeps else None,
        provenance=provenance,
    )


def _verdicts(study: Study, evidence: Evidence, collected: Collected) -> dict[str, list[Verdict]]:
    """Return what is judged: hypotheses in Stage A, survival at depth in Stage B and the pivot."""
    stage = evidence.stage
    if stage.name == "stage_a":
        return {arm: judge_arm(arm, study.arms[arm].success, evidence) for arm in stage.arms}
    return {
        arm: judge_depth(arm, shallow, evidence, collected.history, study.stage_b)
        for arm, shallow in stage.depth
        if study.stage_b is not None
    }


def put_into_words(findings: Findings) -> tuple[list[str], str]:
    """Return the sentences that answer the stage's question, and the summary in Markdown."""
    answer, general = (sentences("answer.md.j2", m, findings) for m in ("answer", "general"))
    return answer, render("stage.md.j2", f=findings, answer=answer, general=general)


def _findings(findings: Findings, answer: Sequence[str]) -> dict[str, Any]:
    """Return `findings.json`: what other documents say of this stage."""
    collected, stage = findings.collected, findings.stage
    return {
        "name": findings.name,
        "title": stage.title,
        "question": stage.question,
        "answer": list(answer),
        "dataset": stage.dataset,
        "control": stage.control,
        "arms": list(stage.arms),
        "winner": findings.winner,
        "loss": findings.loss.column,
        "verdicts": [
            {
                **{key: getattr(item, key) for key in ("arm", "condition", "status")},
                "sentence": say("verdict", item, findings.study.statistics),
            }
            for group in findings.verdicts.values()
            for item in group
        ],
        "baselines": collected.baselines,
        "conventional": asdict(collected.conventional) if collected.conventional else None,
        "noise_floor": findings.noise_floor,
        "undefined": collected.undefined,
    }
