"""Quality against time: rPIE iteration by iteration, the networks by training and by inference."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ptycho_torch.report.summarise.collect import Collected
from ptycho_torch.report.summarise.conventional import Conventional
from ptycho_torch.runtime.plot_style import INK, arm_colours, new_figure, use_log_scale
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPLEX_ERROR, Score

_LEAST_S = 1e-4


def time_to_quality(collected: Collected, arms: Sequence[str]) -> Figure:
    """Return amplitude SSIM and complex error against seconds, on a log axis.

    A line is rPIE; of each successful run of an arm a filled dot stands at its training time, a
    hollow one at the time of inference, at the same quality.
    """
    figure = new_figure(8.4, 3.4)
    left, right = figure.subplots(1, 2)
    conventional = collected.conventional
    assert conventional is not None
    for axes, score in ((left, AMPLITUDE_SSIM), (right, COMPLEX_ERROR)):
        _conventional(axes, conventional, score)
        _networks(axes, collected, arms, score)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("seconds")
        better = "lower" if score.lower_is_better else "higher"
        axes.set_title(f"{score.label} ({better} is better)", loc="left", fontsize=9)
        axes.grid(color="#eeeeee", linewidth=0.8)
        axes.set_axisbelow(True)
    use_log_scale(right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    return figure


def _conventional(axes: Axes, conventional: Conventional, score: Score) -> None:
    known = [row for row in conventional.scored if row[score.name] is not None]
    seconds = [max(row["seconds"] or 0.0, _LEAST_S) for row in known]
    values = [float(row[score.name] or 0.0) for row in known]
    axes.plot(seconds, values, "-", color=INK, linewidth=1.2, marker="s", markersize=3.5,
              label="rPIE, by iteration")  # fmt: skip
    for row, second, value in zip(known, seconds, values, strict=True):
        axes.annotate(
            f"{row['iteration']}", (second, value), xytext=(0, 4), textcoords="offset points",
            fontsize=7, color=INK, ha="center",
        )  # fmt: skip


def _networks(axes: Axes, collected: Collected, arms: Sequence[str], score: Score) -> None:
    for arm, colour in arm_colours(arms).items():
        runs = collected.runs
        mine = runs[(runs["arm"] == arm) & ~runs["failed"].astype(bool)]
        values = mine[score.column].astype(float).to_numpy()
        for column, face, label in (
            ("wall_s", colour, f"{arm}, training"),
            ("inference_s", "white", f"{arm}, inference"),
        ):
            seconds = np.maximum(mine[column].astype(float).to_numpy(), _LEAST_S)
            axes.plot(seconds, values, "o", color=colour, markerfacecolor=face, markersize=5,
                      label=label)  # fmt: skip
