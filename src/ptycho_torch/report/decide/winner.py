"""The winner of Stage A: the arm that goes on to depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.rendering import say
from ptycho_torch.report.runs_table import read_runs
from ptycho_torch.statistics.compare import compare_failures
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import loss_score


def write_winner(
    runs: PathLike, plan: Mapping[str, Any], statistics: Mapping[str, Any], output: PathLike
) -> None:
    """Read Stage A's table of runs and write `winner.json`.

    Raises
    ------
    InputError
        If the table is unreadable, not that of the plan, or lacks a column.
    """
    stage, settings = StagePlan(**plan), StatisticsSettings.model_validate(statistics)
    io.write_json(output, find_winner(read_runs(runs, stage), stage.arms, settings))


def find_winner(
    runs: pd.DataFrame, arms: Sequence[str], settings: StatisticsSettings
) -> dict[str, Any]:
    """Return the winner, and how it came to be it, from a row per run of Stage A.

    The rule: of all arms, those that are shown to fail more often than the arm with the fewest
    failures drop out (Fisher's exact test at the study's level, corrected by Holm); of the rest
    the lowest median of the best validation loss over successful runs wins; ties by name. If no
    run of any arm succeeded, the first of the rest by failures, then by name.
    """
    loss = loss_score(runs["val_loss_name"].tolist())
    failed = {arm: failure_rate(runs, arm, settings.confidence) for arm in arms}
    medians = {arm: score_spread(runs, arm, loss.column).median for arm in arms}
    steadiest = min(arms, key=lambda arm: (failed[arm].rate, arm))
    others = [(arm, steadiest) for arm in arms if arm != steadiest]
    tests = compare_failures(runs, others, settings)
    dropped = [item.arm for item in tests if item.better is False]
    left = [arm for arm in arms if arm not in dropped]
    scored = [(value, arm) for arm in left if (value := medians[arm]) is not None]
    winner = min(scored)[1] if scored else min(left, key=lambda arm: (failed[arm].rate, arm))
    found = {
        "winner": winner,
        "dropped": dropped,
        "arms": {
            arm: {
                "failures": rate.failures,
                "runs": rate.runs,
                "median_loss": medians[arm],
                "dropped": arm in dropped,
            }
            for arm, rate in failed.items()
        },
        "loss": loss.column,
    }
    return {**found, "sentence": say("winner", found)}
