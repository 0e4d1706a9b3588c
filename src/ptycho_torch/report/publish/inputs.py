"""Read and check what the page is made from; nothing of it is repaired in silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPLEX_ERROR, OUTCOMES, PHASE_SSIM

Run = tuple[str, str, int]
"""(dataset, arm, seed)."""

State = Literal["met", "not met", "undecided"]

_KEYS = ("dataset", "arm", "seed")
RUN_COLUMNS = (
    *("stages", *_KEYS, "outcome", "failed", "reason", "epochs", "val_loss_name", "best_val_loss"),
    *(AMPLITUDE_SSIM.column, PHASE_SSIM.column, COMPLEX_ERROR.column),
    *("grad_norm_p99", "clipped_share", "wall_s", "undefined"),
)


class _Part(BaseModel):
    """A block of JSON; keys that this page does not show are no fault."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Condition(_Part):
    """One condition of a decision rule."""

    condition: str
    state: State
    sentence: str
    seeds: str
    """How many seeds would decide it, in words; empty where that is no question."""


class Rule(_Part):
    """A decision rule and what became of it."""

    rule: str
    state: State
    conditions: list[Condition]


class Decision(_Part):
    """`decision.json`."""

    decision: Literal["gold", "silver", "pivot", "undecided"]
    headline: str
    because: list[str]
    would_change: list[str]
    rules: list[Rule]


class Stage(_Part):
    """Question and answer of a stage."""

    title: str
    question: str
    answer: list[str]
    # A scheme or a rooted path would lead away from the folder that the page travels with.
    summary: Annotated[str, Field(pattern=r"^[^/:\\][^:\\]*$")]


class Baselines(_Part):
    """Scores of what is no network."""

    constant: dict[str, float | None]
    truth: dict[str, float | None]
    conventional: dict[str, float | None] | None = None


class Provenance(_Part):
    """Where the results come from."""

    command: str
    commit: str
    python: str
    platform: str
    versions: dict[str, str]


class StudyFacts(_Part):
    """`study.json` of the whole study."""

    title: str
    protocol: str
    stages: dict[str, Stage]
    baselines: dict[str, Baselines]
    noise_floor: dict[str, float | None]
    undefined: dict[str, str]
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that the page shows, checked against each other."""

    runs: pd.DataFrame
    """A row per distinct run."""

    history: pd.DataFrame
    """A row per run and finished epoch."""

    decision: Decision
    """What the study decides."""

    study: StudyFacts
    """Its words, baselines and provenance."""

    reconstructions: Mapping[Run, Path]
    """`reconstruction.npz` of runs."""


def read_inputs(
    *,
    runs: PathLike,
    history: PathLike,
    decision: PathLike,
    study: PathLike,
    reconstructions: Sequence[PathLike],
) -> Inputs:
    """Read the files of the page.

    Raises
    ------
    InputError
        If a file is unreadable, lacks a column or key, or knows runs or stages that others do not.
    """
    facts = _read_part(study, StudyFacts)
    table = _read_runs(runs, facts, study)
    known = {run_of(row) for _, row in table.iterrows()}
    return Inputs(
        runs=table,
        history=_read_history(history, table, known),
        decision=_read_part(decision, Decision),
        study=facts,
        reconstructions=_by_run(reconstructions, known),
    )


def run_of(row: "pd.Series[Any]") -> Run:
    """Return which run a row of a table is about."""
    return str(row["dataset"]), str(row["arm"]), int(row["seed"])


def named(run: Run) -> str:
    """Return a run's name as its folder has it."""
    return f"{run[0]}/{run[1]}/seed-{run[2]}"


_PartType = TypeVar("_PartType", bound=_Part)


def _read_part(path: PathLike, model: type[_PartType]) -> _PartType:
    try:
        return model.model_validate(io.read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {where}: {first['msg']}, got {str(first['input'])[:80]!r}; another version "
            "wrote it, make it again"
        ) from None


def _read_table(path: PathLike, columns: Sequence[str]) -> pd.DataFrame:
    table = io.read_csv(path)
    for column in columns:
        if column not in table.columns:
            raise InputError(
                f"{path}: lacks the column '{column}'; it has: {', '.join(table.columns)}; "
                "another version wrote it, make it again"
            )
    for column in _KEYS:
        if table[column].isna().any():
            raise InputError(f"{path}: a row has no {column}; make the table again")
    for column in table.columns.intersection(["seed", "epoch"]):
        if not pd.api.types.is_integer_dtype(table[column]) and len(table):
            raise InputError(f"{path}: {column}s must be whole numbers; make the table again")
    return table


def _read_runs(path: PathLike, facts: StudyFacts, study: PathLike) -> pd.DataFrame:
    table = _read_table(path, RUN_COLUMNS)
    if table.empty:
        raise InputError(f"{path}: has no runs; make them first")
    doubles = table[table.duplicated(list(_KEYS))]
    if len(doubles):
        raise InputError(
            f"{path}: {named(run_of(doubles.iloc[0]))} has two rows; expected one per distinct run"
        )
    for _, row in table.iterrows():
        where = f"{path}: {named(run_of(row))}"
        if row["outcome"] not in OUTCOMES:
            raise InputError(
                f"{where}: outcome is '{row['outcome']}', expected one of {', '.join(OUTCOMES)}"
            )
        if unknown := set(stages_of(row)) - set(facts.stages):
            raise InputError(
                f"{where}: is of stage '{min(unknown)}', which {study} does not describe; it has: "
                f"{', '.join(facts.stages)}; make both again"
            )
        if row["dataset"] not in facts.baselines:
            raise InputError(
                f"{study}: baselines: lacks the dataset '{row['dataset']}' of {path}; it has: "
                f"{', '.join(facts.baselines)}; make both again"
            )
    return table.reset_index(drop=True)


def stages_of(row: "pd.Series[Any]") -> list[str]:
    """Return the stages that a run is part of."""
    return [name for name in str(row["stages"]).split(";") if name]


def _read_history(path: PathLike, runs: pd.DataFrame, known: set[Run]) -> pd.DataFrame:
    losses = sorted(set(runs["val_loss_name"].dropna()))
    table = _read_table(path, (*_KEYS, "epoch", *losses))
    seen = {run_of(row) for _, row in table[list(_KEYS)].drop_duplicates().iterrows()}
    if strangers := seen - known:
        raise InputError(
            f"{path}: has epochs of {named(min(strangers))}, which is not in the table of runs; "
            "make both again"
        )
    ended = {run_of(row) for _, row in runs[runs["epochs"] > 0].iterrows()}
    if silent := ended - seen:
        raise InputError(f"{path}: lacks the epochs of {named(min(silent))}; make it again")
    return table


def _by_run(paths: Sequence[PathLike], known: set[Run]) -> dict[Run, Path]:
    folders = {named(run): run for run in known}
    found: dict[Run, Path] = {}
    for path in map(Path, paths):
        run = folders.get("/".join(path.parent.parts[-3:]))
        if run is None:
            raise InputError(
                f"{path}: is of a run that is not in the table of runs; expected "
                "<dataset>/<arm>/seed-<n>/reconstruction.npz of one that is"
            )
        if run in found:
            raise InputError(f"{path}: {found[run]} is already there for the same run")
        found[run] = path
    return found
