"""Decide from files: read what the stages found, write the decision as data and as prose."""

from collections.abc import Mapping
from typing import Any

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.decide.decision import decide
from ptycho_torch.report.decide.prose import decision_text
from ptycho_torch.report.decide.rules import Runs
from ptycho_torch.report.runs_table import read_runs
from ptycho_torch.runtime.errors import InputError


def write_decision(
    *,
    stage_a: PathLike,
    pivot: PathLike,
    winner: PathLike,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    outputs: Mapping[str, PathLike],
) -> None:
    """Decide, and write `decision.json` and `decision.md`.

    Parameters
    ----------
    stage_a, pivot
        `runs.csv` of Stage A and of the pivot.
    winner
        `winner.json` of Stage A.
    study
        The configuration in force, as nested mappings.
    provenance
        What `provenance.collect_provenance` returns.
    outputs
        Paths of `data` and `prose`.

    Raises
    ------
    InputError
        As `read_evidence`.
    """
    runs = read_evidence(stage_a, pivot, study)
    found = decide(runs.study, runs.shallow, runs.at_depth)
    won = io.read_json(winner)
    io.write_json(outputs["data"], {**found.as_json(), "winner_of_stage_a": won.get("winner")})
    io.write_text(outputs["prose"], decision_text(found, runs, won, provenance))


def read_evidence(stage_a: PathLike, pivot: PathLike, study: Mapping[str, Any]) -> Runs:
    """Return the runs that the decision is taken from.

    Parameters
    ----------
    stage_a, pivot
        `runs.csv` of Stage A and of the pivot.
    study
        The configuration in force, as nested mappings.

    Raises
    ------
    InputError
        If the configuration is wrong or has no decision, or a table is not that of its stage.
    """
    parsed = parse_study(study, "study")
    if parsed.decision is None:
        raise InputError("study: there is no block 'decision', so nothing can be decided")
    return Runs(
        study=parsed,
        shallow=read_runs(stage_a, stage_plan(parsed, "stage_a")),
        at_depth=read_runs(pivot, stage_plan(parsed, "pivot")),
    )
