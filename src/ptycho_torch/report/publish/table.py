"""The table of all runs, cell by cell, and the baselines that stand beside its numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ptycho_torch.report.publish.inputs import StudyFacts, stages_of
from ptycho_torch.runtime.markdown import number, percent
from ptycho_torch.statistics.scores import (
    AMPLITUDE_SSIM,
    BEST_LOSS,
    COMPLEX_ERROR,
    OUTCOMES,
    PHASE_SSIM,
    Score,
)

LOSS_LABELS = {"mae_val_loss": "MAE", "poisson_val_loss": "Poisson"}
NOT_DEFINED = "n/a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell shows and what it is sorted by."""

    text: str
    """As printed."""

    order: str = ""
    """Number to sort by, in digits that scripts read; empty where there is none."""

    title: str = ""
    """Said when the pointer rests on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table."""

    label: str
    """Its heading."""

    cell: Callable[["pd.Series[Any]"], Cell]
    """What a run has in it."""

    baseline: "Callable[[Baseline], str]" = lambda _: ""
    """What a baseline has in it."""

    numeric: bool = False
    """Whether it sorts and is set as numbers."""

    wide: bool = False
    """Whether it holds sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is no run, for one dataset."""

    label: str
    """As printed: constant image, noise-free truth."""

    dataset: str
    """Its dataset."""

    scores: dict[str, float | None]
    """Score name -> value."""

    loss: str
    """What stands for it in the losses, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A run in the table."""

    dataset: str
    arm: str
    seed: int
    stages: list[str]
    outcome: str
    failed: bool
    cells: list[Cell]
    """In the order of the columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """What is no run and stands at the foot of the table."""

    label: str
    cells: list[Cell]
    """In the order of the columns but the first, which holds the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """The table as the template writes it."""

    columns: list[Column]
    rows: list[Row]
    baselines: list[BaselineRow]
    stages: list[str]
    """To filter by, like the three that follow."""
    arms: list[str]
    outcomes: list[str]
    datasets: list[str]


def run_table(runs: pd.DataFrame, study: StudyFacts) -> RunTable:
    """Return the table of all runs, in the order of the file."""
    columns = _columns(runs)
    rows = [
        Row(
            dataset=run["dataset"],
            arm=run["arm"],
            seed=int(run["seed"]),
            stages=stages_of(run),
            outcome=run["outcome"],
            failed=bool(run["failed"]),
            cells=[column.cell(run) for column in columns],
        )
        for _, run in runs.iterrows()
    ]
    named = {stage for row in rows for stage in row.stages}
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    return RunTable(
        columns=columns,
        rows=rows,
        baselines=_baselines(columns, runs, study, datasets),
        stages=[stage for stage in study.stages if stage in named],
        arms=list(dict.fromkeys(row.arm for row in rows)),
        outcomes=[name for name in OUTCOMES if name in {row.outcome for row in rows}],
        datasets=datasets,
    )


def seconds_text(seconds: float) -> str:
    """Return a time as people say it: 42 s, 3 min 20 s, 1 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _columns(runs: pd.DataFrame) -> list[Column]:
    several_losses = runs["val_loss_name"].nunique() > 1
    return [
        Column(label="arm", cell=_plain("arm")),
        Column(label="seed", cell=_number("seed", str), numeric=True),
        Column(label="dataset", cell=_plain("dataset"), baseline=lambda of: of.dataset),
        Column(label="stages", cell=lambda run: Cell(text=", ".join(stages_of(run)))),
        Column(label="outcome", cell=_plain("outcome"), baseline=lambda _: "baseline, no run"),
        Column(label="epochs", cell=_number("epochs", str), numeric=True),
        Column(
            label=BEST_LOSS.label,
            cell=_loss(BEST_LOSS.column, several_losses),
            baseline=lambda of: of.loss,
            numeric=True,
        ),
        *(_score_column(score) for score in (AMPLITUDE_SSIM, PHASE_SSIM, COMPLEX_ERROR)),
        Column(label="gradient norm p99", cell=_number("grad_norm_p99", number), numeric=True),
        Column(label="clipped share", cell=_number("clipped_share", percent), numeric=True),
        Column(label="wall time", cell=_number("wall_s", seconds_text), numeric=True),
        Column(label="reason of a failure", cell=_failure, wide=True),
    ]


def _plain(column: str) -> Callable[["pd.Series[Any]"], Cell]:
    return lambda run: Cell(text=str(run[column]))


def _failure(run: "pd.Series[Any]") -> Cell:
    """Return why a run failed; for the others the outcome says it all."""
    return Cell(text=str(run["reason"]) if run["failed"] and pd.notna(run["reason"]) else "")


def _number(column: str, written: Callable[[Any], str]) -> Callable[["pd.Series[Any]"], Cell]:
    def cell(run: "pd.Series[Any]") -> Cell:
        value = run[column]
        if pd.isna(value):
            return Cell(text=NOT_DEFINED, title=why_undefined(run, column))
        return Cell(text=written(value), order=repr(float(value)))

    return cell


def _loss(column: str, several: bool) -> Callable[["pd.Series[Any]"], Cell]:
    """Return the loss, with its kind where arms are trained with different ones."""

    def written(run: "pd.Series[Any]") -> Cell:
        cell = _number(column, number)(run)
        if not (several and cell.order):
            return cell
        kind = LOSS_LABELS.get(run["val_loss_name"], str(run["val_loss_name"]))
        return Cell(text=f"{cell.text} ({kind})", order=cell.order)

    return written


def _score_column(score: Score) -> Column:
    def baseline(of: Baseline) -> str:
        value = of.scores.get(score.name)
        return NOT_DEFINED if value is None else number(value)

    return Column(
        label=score.label, cell=_number(score.column, number), baseline=baseline, numeric=True
    )


def why_undefined(run: "pd.Series[Any]", column: str) -> str:
    """Return why a run lacks a score, from its list `name: reason; name: reason`."""
    name = column.removeprefix("best_")
    for part in str(run["undefined"]).split("; "):
        if part.startswith(f"{name}: "):
            return part.removeprefix(f"{name}: ")
    return "no epoch ended" if run["epochs"] == 0 else ""


def _baselines(
    columns: list[Column], runs: pd.DataFrame, study: StudyFacts, datasets: list[str]
) -> list[BaselineRow]:
    is_mae = set(runs["val_loss_name"]) == {"mae_val_loss"}
    found = []
    for dataset in datasets:
        floor = study.noise_floor.get(dataset)
        scores = study.baselines[dataset]
        # An image is no network; these are what the relative MAE has in its place.
        noise = f"{number(floor)} (the noise alone)" if is_mae and floor is not None else ""
        found += [
            Baseline(
                label="constant image",
                dataset=dataset,
                scores=scores.constant,
                loss="1 (predicting nothing)" if is_mae else "",
            ),
            Baseline(label="noise-free truth", dataset=dataset, scores=scores.truth, loss=noise),
        ]
        if scores.conventional is not None:
            found.append(
                Baseline(
                    label="conventional: rPIE", dataset=dataset, scores=scores.conventional, loss=""
                )
            )
    return [
        BaselineRow(
            label=of.label, cells=[Cell(text=column.baseline(of)) for column in columns[1:]]
        )
        for of in found
    ]
