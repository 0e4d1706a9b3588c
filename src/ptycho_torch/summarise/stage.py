"""Summarise Stage A: read its runs, work out what they support, write tables, figures, Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptycho_torch import io
from ptycho_torch.config.base import InputError
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import StageSettings, Study
from ptycho_torch.io import PathLike
from ptycho_torch.statistics import compare, verdict
from ptycho_torch.statistics.scores import RECONSTRUCTION_SCORES, loss_score
from ptycho_torch.summarise import tables
from ptycho_torch.summarise.collect import StageFiles, collect
from ptycho_torch.summarise.figures import runs as run_figures
from ptycho_torch.summarise.figures import scores as score_figures
from ptycho_torch.summarise.figures.style import save, styled
from ptycho_torch.summarise.report import report
from ptycho_torch.summarise.report.findings import Findings


def summarise_stage(
    *,
    metrics: Sequence[PathLike],
    runs: Sequence[PathLike],
    timings: Sequence[PathLike],
    histories: Sequence[PathLike],
    reconstructions: Sequence[PathLike],
    dataset: PathLike,
    study: Mapping[str, Any],
    stage: str,
    provenance: Mapping[str, Any],
    folder: PathLike,
) -> None:
    """Write summary.md, five CSV tables, study.json and four figures (PNG and SVG) of a stage.

    Parameters
    ----------
    metrics, runs, timings, histories, reconstructions
        `metrics.json`, `run.json`, `timing.json`, `history.csv` and `reconstruction.npz` of every
        run of the stage, in any order.
    dataset
        `dataset.json` of the stage's dataset.
    study
        The configuration in force, as nested mappings.
    stage
        Name of the stage's block, such as `stage_a`.
    provenance
        What `provenance.collect_provenance` returns.
    folder
        Where to write.

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
    )
    parsed = parse_study(study, "study")
    findings = work_out(files, parsed, stage, provenance)
    _write_tables(findings, Path(folder))
    _write_figures(findings, Path(folder))
    io.write_text(Path(folder) / "summary.md", report(findings))


def work_out(files: StageFiles, study: Study, name: str, provenance: Mapping[str, Any]) -> Findings:
    """Return what the runs of a stage support; reads files and writes none."""
    stage = getattr(study, name, None)
    if not isinstance(stage, StageSettings):
        raise InputError(f"study: there is no stage '{name}'")
    collected = collect(files, stage)
    runs, settings = collected.runs, study.statistics
    loss = loss_score(runs["val_loss_name"].tolist())
    pairs = [(arm, stage.control) for arm in compare.others_of(stage, stage.control)]
    by_score = [
        compare.compare_score(runs, pairs, score, settings)
        for score in (loss, *RECONSTRUCTION_SCORES)
    ]
    evidence = verdict.Evidence(runs=runs, stage=stage, loss=loss, settings=settings)
    return Findings(
        name=name,
        stage=stage,
        study=study,
        collected=collected,
        loss=loss,
        # Arm by arm, not score by score.
        comparisons=[item for arm in zip(*by_score, strict=True) for item in arm],
        failure_tests=compare.compare_failures(runs, pairs, settings),
        verdicts={
            arm: verdict.judge_arm(arm, study.arms[arm].success, evidence) for arm in stage.arms
        },
        curves={arm: tables.survival_steps(runs, arm, settings.confidence) for arm in stage.arms},
        provenance=provenance,
    )


def _write_tables(findings: Findings, folder: Path) -> None:
    collected, stage = findings.collected, findings.stage
    arms = tables.arms_table(collected, findings.study, stage.arms, findings.loss)
    comparisons = compare.as_table([*findings.comparisons, *findings.failure_tests])
    io.write_csv(folder / "runs.csv", collected.runs)
    io.write_csv(folder / "arms.csv", arms)
    io.write_csv(folder / "comparisons.csv", comparisons)
    io.write_csv(folder / "history.csv", collected.history)
    io.write_csv(folder / "survival.csv", tables.survival_table(findings.curves))
    io.write_json(folder / "study.json", findings.study.model_dump(mode="json"))


def _write_figures(findings: Findings, folder: Path) -> None:
    collected, arms, loss = findings.collected, findings.stage.arms, findings.loss
    names = set(collected.runs["val_loss_name"])
    column = names.pop() if len(names) == 1 else "mae_val_loss"
    floor = collected.dataset["splits"]["validation"].get("noise_floor")
    is_mae = column == "mae_val_loss"
    with styled():
        curves = run_figures.learning_curves(collected, arms, column, floor if is_mae else None)
        save(curves, folder, "learning_curves")
        references = score_figures.loss_references(loss, is_mae, floor)
        spread = score_figures.metric_spread(collected, arms, loss, references)
        save(spread, folder, "metric_spread")
        save(score_figures.reconstructions(collected, arms), folder, "reconstructions")
        survival = run_figures.survival(findings.curves, findings.confidence)
        save(survival, folder, "survival")
