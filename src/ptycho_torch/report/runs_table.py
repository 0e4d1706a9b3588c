"""A stage's table of runs (`runs.csv`), read and checked."""

from pathlib import Path

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.scores import OUTCOMES, RECONSTRUCTION_SCORES

_NEEDED = (
    *("dataset", "arm", "seed", "outcome", "failed", "val_loss_name", "best_val_loss"),
    *("best_mae_val_loss", "grad_norm_p99"),
    *(score.column for score in RECONSTRUCTION_SCORES),
)


def read_runs(path: PathLike, plan: StagePlan) -> pd.DataFrame:
    """Return a stage's table of runs, a row per arm and seed.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or holds
        other runs than the stage's.
    """
    runs = io.read_csv(path)
    for column in _NEEDED:
        if column not in runs:
            raise InputError(f"{path}: lacks the column '{column}'; delete {Path(path).parent}/")
    if len(runs) and runs["failed"].dtype != bool:
        raise InputError(f"{path}: 'failed' must be True or False in every row; make it again")
    if len(runs) and runs["seed"].dtype.kind != "i":
        raise InputError(f"{path}: 'seed' must be a whole number in every row; make it again")
    strange = sorted(set(runs["outcome"].astype(str)) - set(OUTCOMES))
    if strange:
        raise InputError(f"{path}: outcome '{strange[0]}' is none of {', '.join(OUTCOMES)}")
    found = sorted(zip(runs["dataset"], runs["arm"], runs["seed"], strict=True))
    expected = sorted((plan.dataset, arm, seed) for arm in plan.arms for seed in plan.seed_list)
    if found != expected:
        odd = sorted(set(expected) ^ set(found)) or found
        raise InputError(
            f"{path}: does not hold the runs of {plan.name} ({len(expected)} expected, "
            f"{len(found)} found; for one, {'/'.join(map(str, odd[0]))}); make its summary again"
        )
    return runs
