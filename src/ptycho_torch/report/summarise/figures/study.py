"""The whole study in one figure: every arm by loss, amplitude SSIM and failures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ptycho_torch.config.study import Study
from ptycho_torch.report.wording import counts
from ptycho_torch.runtime.plot_style import COLOURS, INK, REFERENCE, new_figure
from ptycho_torch.statistics.runs import failure_rate
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, Score, loss_score

_BLUE, _RED = COLOURS[1], COLOURS[2]


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
    _scores(left, runs, arms, loss)
    _scores(middle, runs, arms, AMPLITUDE_SSIM)
    constants = {
        found["baselines"]["constant"].get(AMPLITUDE_SSIM.name) for found in stages.values()
    }
    for value in constants - {None}:
        middle.axvline(value, color=REFERENCE, linestyle="--", linewidth=0.9)
        middle.annotate(
            "constant image",
            (value, 0.0),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="bottom",
            ha="right",
            fontsize=7,
            color=INK,
        )
    for place, arm in enumerate(arms):
        failed = failure_rate(runs, arm, study.statistics.confidence)
        ends = [failed.interval.low, failed.interval.high]
        right.plot(ends, [place, place], color=_BLUE, linewidth=1.2)
        right.plot([failed.failures / failed.runs], [place], "o", color=_BLUE, markersize=4)
        right.annotate(
            counts(failed), (1.02, place), xycoords=("axes fraction", "data"), fontsize=7.5,
            va="center",
        )  # fmt: skip
    right.set_xlim(-0.03, 1.03)
    right.set_title("failure rate, with interval", loc="left", fontsize=9)
    left.set_yticks(range(len(arms)), arms, fontsize=8)
    left.invert_yaxis()
    return figure


def _scores(axes: Axes, runs: pd.DataFrame, arms: list[str], score: Score) -> None:
    for place, arm in enumerate(arms):
        mine = runs[runs["arm"] == arm]
        values = mine[score.column].astype(float).to_numpy()
        failed = mine["failed"].astype(bool).to_numpy()
        known = np.isfinite(values)
        axes.plot(values[known & ~failed], [place] * int((known & ~failed).sum()), "o", color=_BLUE,
                  alpha=0.75, markersize=4.5)  # fmt: skip
        axes.plot(values[known & failed], [place] * int((known & failed).sum()), "x", color=_RED,
                  markeredgewidth=1.6)  # fmt: skip
        good = values[known & ~failed]
        if len(good):
            axes.plot(
                [np.median(good)], [place], "|", color=INK, markersize=11, markeredgewidth=1.5
            )
    spanned = runs[score.column].astype(float).dropna()
    if score.column.endswith("loss") and len(spanned) and spanned.min() > 0 and (
        spanned.max() > 10 * spanned.min()
    ):  # fmt: skip
        axes.set_xscale("log")
    better = "lower" if score.lower_is_better else "higher"
    axes.set_title(f"{score.label} ({better} is better)", loc="left", fontsize=9)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
