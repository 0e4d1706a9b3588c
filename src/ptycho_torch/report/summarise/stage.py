"""Summarise a stage: read its runs, work out what they support, write tables, figures, Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptycho_torch.config.plan import StagePlan, stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.summarise import tables
from ptycho_torch.report.summarise.answers import answer
from ptycho_torch.report.summarise.collect import Collected, StageFiles, collect
from ptycho_torch.report.summarise.findings import Findings
from ptycho_torch.report.summarise.report import report
from ptycho_torch.report.summarise.report.opening import answer_items
from ptycho_torch.report.wording import because
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics import compare, verdict
from ptycho_torch.statistics.depth import judge_depth
from ptycho_torch.statistics.scores import RECONSTRUCTION_SCORES, loss_score


def summarise_stage(
    *,
    metrics: Sequence[PathLike],
    runs: Sequence[PathLike],
    timings: Sequence[PathLike],
    histories: Sequence[PathLike],
    reconstructions: Sequence[PathLike],
    dataset: PathLike,
    conventional: Sequence[PathLike] = (),
    study: Mapping[str, Any],
    stage: str,
    provenance: Mapping[str, Any],
    folder: PathLike,
    winner: PathLike | None = None,
) -> None:
    """Write summary.md, five CSV tables, two JSON files and the figures (PNG and SVG) of a stage.

    Parameters
    ----------
    metrics, runs, timings, histories, reconstructions
        `metrics.json`, `run.json`, `timing.json`, `history.csv` and `reconstruction.npz` of every
        run of the stage, in any order.
    dataset
        `dataset.json` of the stage's dataset.
    conventional
        `metrics.json` and `progress.json` of its conventional reconstruction; none: not asked.
    study
        The configuration in force, as nested mappings.
    stage
        `stage_a`, `stage_b`, `pivot`, or the name of a sweep.
    provenance
        What `provenance.collect_provenance` returns.
    folder
        Where to write.
    winner
        `winner.json` of Stage A, which Stage B needs.

    Raises
    ------
    InputError
        If the configuration is wrong, or a file is missing, unreadable or of another run.
    """
    files = StageFiles(
        metrics=metrics,
        runs=runs,
        timings=timings,
        histories=histories,
        reconstructions=reconstructions,
        dataset=dataset,
        conventional=conventional,
    )
    from ptycho_torch.report.summarise.figures.stage import (
        write_figures,  # matplotlib: slow to import
    )

    parsed = parse_study(study, "study")
    findings = work_out(files, parsed, stage, provenance, winner=read_winner(winner))
    folder, said = Path(folder), answer(findings)
    _write_tables(findings, folder)
    write_figures(findings, folder)
    io.write_json(folder / "findings.json", _findings(findings, answer_items(findings, said)))
    io.write_text(folder / "summary.md", report(findings, said))


def _findings(findings: Findings, sentences: Sequence[str]) -> dict[str, Any]:
    """Return `findings.json`: what other pages say of this stage."""
    collected, stage = findings.collected, findings.stage
    return {
        "name": findings.name,
        "title": stage.title,
        "question": stage.question,
        "answer": list(sentences),
        "dataset": stage.dataset,
        "control": stage.control,
        "arms": list(stage.arms),
        "winner": findings.winner,
        "loss": findings.loss.column,
        "verdicts": [
            {
                "arm": item.arm,
                "condition": item.condition,
                "status": item.status,
                "sentence": because(item, findings.study.statistics),
            }
            for group in findings.verdicts.values()
            for item in group
        ],
        "baselines": collected.baselines,
        "conventional": asdict(collected.conventional) if collected.conventional else None,
        "noise_floor": collected.dataset["splits"]["validation"].get("noise_floor"),
        "undefined": collected.undefined,
    }


def read_winner(path: PathLike | None) -> str | None:
    """Return the winner that `winner.json` names; None without a file."""
    if path is None:
        return None
    found = io.read_json(path).get("winner")
    if not isinstance(found, str):
        raise InputError(f"{path}: lacks 'winner'; delete it and run again")
    return found


def work_out(
    files: StageFiles,
    study: Study,
    name: str,
    provenance: Mapping[str, Any],
    winner: str | None = None,
) -> Findings:
    """Return what the runs of a stage support; reads files and writes none."""
    try:
        stage = stage_plan(study, name, winner)
    except ValueError as error:
        raise InputError(f"study: {error}") from None
    collected = collect(files, stage)
    runs, settings = collected.runs, study.statistics
    loss = loss_score(runs["val_loss_name"].tolist())
    pairs = list(stage.pairs)
    by_score = [
        compare.compare_score(runs, pairs, score, settings)
        for score in (loss, *RECONSTRUCTION_SCORES)
    ]
    return Findings(
        stage=stage,
        winner=winner,
        study=study,
        collected=collected,
        loss=loss,
        # Arm by arm, not score by score.
        comparisons=[
            compare.with_seeds(item, runs, settings)
            for arm in zip(*by_score, strict=True)
            for item in arm
        ],
        failure_tests=[
            compare.with_seeds(item, runs, settings)
            for item in compare.compare_failures(runs, pairs, settings)
        ],
        verdicts=_verdicts(
            study,
            stage,
            collected,
            verdict.Evidence(runs=runs, stage=stage, loss=loss, settings=settings),
        ),
        curves={arm: tables.survival_steps(runs, arm, settings.confidence) for arm in stage.arms},
        provenance=provenance,
    )


def _verdicts(
    study: Study, stage: StagePlan, collected: Collected, evidence: verdict.Evidence
) -> dict[str, list[verdict.Verdict]]:
    """Return what is judged: hypotheses in Stage A, survival at depth in Stage B and the pivot."""
    if stage.name == "stage_a":
        return {
            arm: verdict.judge_arm(arm, study.arms[arm].success, evidence) for arm in stage.arms
        }
    if study.stage_b is None:
        return {}
    return {
        arm: judge_depth(arm, shallow, evidence, collected.history, study.stage_b)
        for arm, shallow in stage.depth
    }


def _write_tables(findings: Findings, folder: Path) -> list[Path]:
    collected, stage = findings.collected, findings.stage
    arms = tables.arms_table(collected, findings.study, stage.arms, findings.loss)
    comparisons = tables.comparisons_table(
        [*findings.comparisons, *findings.failure_tests], findings.study.statistics
    )
    written = {
        "runs.csv": collected.runs,
        "arms.csv": arms,
        "comparisons.csv": comparisons,
        "history.csv": collected.history,
        "survival.csv": tables.survival_table(findings.curves),
    }
    for name, table in written.items():
        io.write_csv(folder / name, table)
    io.write_json(folder / "study.json", findings.study.published())
    return [folder / name for name in written]
