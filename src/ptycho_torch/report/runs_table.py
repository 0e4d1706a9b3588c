"""A stage's table of runs (`runs.csv`), read and checked, and what is shown of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import number
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, PHASE_SSIM, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Amplitude or phase."""

    key: str
    """Array of `reconstruction.npz`."""

    truth: str
    """The truth's array."""

    label: str
    """As printed."""

    colours: str
    """Matplotlib's name of the colour scale."""

    score: Score
    """What is printed beside the picture."""

    def caption(self, run: "pd.Series[Any]") -> str:
        """Return the score of a run's picture."""
        value = run[self.score.column]
        return "no SSIM" if pd.isna(value) else f"SSIM {number(float(value))}"


KINDS = (
    Kind(
        key="amplitude",
        truth="truth_amplitude",
        label="amplitude",
        colours="viridis",
        score=AMPLITUDE_SSIM,
    ),
    Kind(
        key="phase_synchronised",
        truth="truth_phase",
        label="phase, rad",
        colours="cividis",
        score=PHASE_SSIM,
    ),
)


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
    expected = sorted((plan.dataset, arm, seed) for arm in plan.arms for seed in plan.seed_list)
    if found != expected:
        odd = sorted(set(expected) ^ set(found)) or found
        raise InputError(
            f"{path}: does not hold the runs of {plan.name} ({len(expected)} expected, "
            f"{len(found)} found; for one, {'/'.join(map(str, odd[0]))}); make its summary again"
        )
    return runs
