"""A stage's table of runs (`runs.csv`), read and checked."""

from pathlib import Path

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError


def read_table(path: PathLike, *columns: str) -> pd.DataFrame:
    """Return a CSV table that has these columns.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks a column.
    """
    table = io.read_csv(path)
    for column in columns:
        if column not in table.columns:
            raise InputError(
                f"{path}: lacks the column '{column}'; another version wrote it, delete "
                f"{Path(path).parent}/ and run again"
            )
    return table


def read_runs(path: PathLike, plan: StagePlan) -> pd.DataFrame:
    """Return a stage's table of runs, a row per arm and seed.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or holds other runs than the stage's.
    """
    runs = read_table(path, "dataset", "arm", "seed", "failed", "val_loss_name", "best_val_loss")
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
