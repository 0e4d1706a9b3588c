"""The whole study in one figure: every arm by loss, amplitude SSIM and failures."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ptycho_torch.config.study import Study
from ptycho_torch.report.figures.marks import mark_failure_rate, mark_runs, title_of
from ptycho_torch.runtime.plot_style import INK, REFERENCE, new_figure
from ptycho_torch.statistics.runs import failure_rate
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, loss_score


def overview(runs: pd.DataFrame, stages: Mapping[str, Mapping[str, Any]], study: Study) -> Figure:
    """Return a row per arm: a dot per run, a cross per failed run, and the failure rate.

    Parameters
    ----------
    runs
        A row per run of the whole study.
    stages
        `findings.json` by stage, for the baselines.
    study
        The study, for the level of the intervals.
    """
    arms = list(dict.fromkeys(runs["arm"].astype(str)))
    loss = loss_score(runs["val_loss_name"].tolist())
    figure = new_figure(9.6, 0.28 * len(arms) + 1.3)
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=[3, 3, 2])
    for axes, score in ((left, loss), (middle, AMPLITUDE_SSIM)):
        for place, arm in enumerate(arms):
            mark_runs(axes, place, runs[runs["arm"] == arm], score.column, horizontal=True)
        axes.set_title(title_of(score), loc="left", fontsize=9)
        axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
        axes.set_axisbelow(True)
    losses = runs[loss.column].astype(float).dropna()
    if len(losses) and losses.min() > 0 and losses.max() > 10 * losses.min():
        left.set_xscale("log")
    constants = {f["baselines"]["constant"].get(AMPLITUDE_SSIM.name) for f in stages.values()}
    for value in constants - {None}:
        middle.axvline(value, color=REFERENCE, linestyle="--", linewidth=0.9)
        where: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "va": "bottom",
            "ha": "right",
        }
        middle.annotate("constant image", (value, 0.0), rotation=90, fontsize=7, color=INK, **where)
    for place, arm in enumerate(arms):
        failed = failure_rate(runs, arm, study.statistics.confidence)
        mark_failure_rate(right, place, failed, horizontal=True)
    right.set_xlim(-0.03, 1.03)
    right.set_title("failure rate, with interval", loc="left", fontsize=9)
    left.set_yticks(range(len(arms)), arms, fontsize=8)
    left.invert_yaxis()
    return figure
