"""The table of a stage's runs: read and checked, and what it says of an arm."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.checksums import must_match
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import percent
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Interval, Spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, OUTCOMES, RECONSTRUCTION_SCORES

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
        If the file cannot be read, was changed after it was written, lacks a column, or holds
        other runs than the stage's.
    """
    beside = Path(path).with_name("findings.json")
    if beside.exists():
        must_match(path, io.read_json(beside))
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


def failures_of(runs: pd.DataFrame, arm: str) -> tuple[int, int]:
    """Return (failures, runs) of an arm."""
    failed = runs.loc[runs["arm"] == arm, "failed"]
    return int(failed.sum()), len(failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRate:
    """How often an arm failed."""

    failures: int
    """Failed runs."""

    runs: int
    """All runs."""

    interval: Interval
    """Wilson's interval of the rate."""

    @property
    def counts(self) -> str:
        """As printed: 1 of 5."""
        return f"{self.failures} of {self.runs}"

    @property
    def bounds(self) -> str:
        """The interval, as printed: 4 % to 62 %."""
        return f"{percent(self.interval.low)} to {percent(self.interval.high)}"


def failure_rate(runs: pd.DataFrame, arm: str, confidence: float) -> FailureRate:
    """Return how often an arm failed, with the interval of its rate."""
    failures, n = failures_of(runs, arm)
    interval = estimates.wilson_interval(failures, n, confidence)
    return FailureRate(failures=failures, runs=n, interval=interval)


def paired_values(
    runs: pd.DataFrame, arm: str, other: str, column: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values of two arms at the seeds at which both succeeded and have one."""
    good = runs[~runs["failed"]].set_index("seed")
    pairs = pd.concat(
        [good.loc[good["arm"] == name, column].astype(float) for name in (arm, other)], axis=1
    ).dropna()
    return pairs.iloc[:, 0].to_numpy(np.float64), pairs.iloc[:, 1].to_numpy(np.float64)


def score_spread(runs: pd.DataFrame, arm: str, column: str) -> Spread:
    """Return median and quartiles of a score over the successful runs of an arm."""
    good = runs[(runs["arm"] == arm) & ~runs["failed"]]
    return estimates.spread(good[column].astype(float).tolist())


def shown_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs to draw: of each arm the successful one of median SSIM, and one that failed.

    With an even number the better of the two in the middle is not preferred: the lower one is
    taken. Of the failed runs it is the first that has a score, else the first. Arms keep the order
    of the table.
    """
    chosen, column = [], AMPLITUDE_SSIM.column
    for _, mine in runs.groupby("arm", sort=False):
        failed = mine[mine["failed"].astype(bool)]
        good = mine.drop(failed.index).dropna(subset=[column]).sort_values([column, "seed"])
        if len(good):
            chosen.append(good.iloc[[(len(good) - 1) // 2]])
        scored = failed.dropna(subset=[column])
        if len(failed):
            chosen.append((scored if len(scored) else failed).iloc[[0]])
    return pd.concat(chosen) if chosen else runs.iloc[:0]
