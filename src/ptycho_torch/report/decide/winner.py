"""Tables of a stage's runs, read and checked, and the winner of Stage A: the arm that goes on to
depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.rendering import say
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.compare import log_values
from ptycho_torch.statistics.scores import COMPOSITE


def read_runs(path: PathLike, plan: StagePlan) -> pd.DataFrame:
    """Return a stage's table of runs, a row per arm and seed; `InputError` if it cannot be read,
    lacks a column, or holds other runs than the stage's."""
    runs = io.read_csv(path)
    if lacking := {"dataset", "arm", "seed", "failed", COMPOSITE.column} - set(runs.columns):
        raise InputError(f"{path}: lacks the column '{min(lacking)}'; make its summary again")
    found = sorted(zip(runs["dataset"], runs["arm"], runs["seed"], strict=True))
    counts = {str(arm): len(mine) for arm, mine in runs.groupby("arm")}
    expected = sorted((plan.dataset, arm, seed) for arm, seed in plan.runs_of(counts))
    if found != expected:
        odd = sorted(set(expected) ^ set(found)) or found
        raise InputError(
            f"{path}: does not hold the runs of {plan.name} ({len(expected)} expected, "
            f"{len(found)} found; for one, {'/'.join(map(str, odd[0]))}); make its summary again"
        )
    return runs


def write_winner(runs: PathLike, plan: Mapping[str, Any], output: PathLike) -> None:
    """Read Stage A's table of runs and write `winner.json`.

    Raises InputError if the table is unreadable, not that of the plan, or lacks a column.
    """
    stage = StagePlan(**plan)
    io.write_json(output, find_winner(read_runs(runs, stage), stage.arms))


def find_winner(runs: pd.DataFrame, arms: Sequence[str]) -> dict[str, Any]:
    """Return the winner, and how it came to be it, from a row per run of Stage A.

    The lowest geometric mean of the composite loss wins, in which a failed run counts as having
    learned nothing; ties by name.
    """
    means: dict[str, dict[str, Any]] = {}
    for arm in arms:
        mine = runs[runs["arm"] == arm]
        mean = float(np.exp(log_values(mine, arm, COMPOSITE.column).mean()))
        means[arm] = {"failures": int(mine["failed"].sum()), "runs": len(mine), "mean_loss": mean}
    winner = min(arms, key=lambda arm: (means[arm]["mean_loss"], arm))
    found = {"winner": winner, "arms": means, "loss": COMPOSITE.column}
    return {**found, "sentence": say("winner", found)}
