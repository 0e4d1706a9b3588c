"""The winner of Stage A: the arm that goes on to depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.rendering import say
from ptycho_torch.report.runs_table import read_runs
from ptycho_torch.statistics.compare import log_values
from ptycho_torch.statistics.runs import failure_rate
from ptycho_torch.statistics.scores import COMPOSITE


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
    losses = {arm: float(np.exp(log_values(runs, arm, COMPOSITE.column).mean())) for arm in arms}
    failed = {arm: failure_rate(runs, arm, 0.95) for arm in arms}
    found = {
        "winner": min(arms, key=lambda arm: (losses[arm], arm)),
        "arms": {
            arm: {
                "failures": failed[arm].failures,
                "runs": failed[arm].runs,
                "mean_loss": losses[arm],
            }
            for arm in arms
        },
        "loss": COMPOSITE.column,
    }
    return {**found, "sentence": say("winner", found)}
