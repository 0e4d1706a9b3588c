"""Figures of the stress stage: loss against learning rate at each depth, and A of each seed."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ptycho_torch.report.collect import Collected
from ptycho_torch.report.figures.runs import mark_level
from ptycho_torch.runtime.plot_style import INK, arm_colours, new_figure, use_log_scale
from ptycho_torch.statistics.stress import Stress

# Arms stand beside each other at a rate, not on top of each other: parts of a decade.
_APART = 0.018


def loss_by_rate(collected: Collected, stress: Stress) -> Figure:
    """Return a panel per depth: per arm the median composite loss over seeds with quartiles, and a
    cross per failed run, which counts as the best constant object."""
    points = stress.points
    depths, rates = points["depth"].unique(), sorted(points["rate"].unique())
    figure = new_figure(4.9 * len(depths), 3.9)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False).ravel()
    colours = arm_colours(list(stress.areas))
    for axes, depth in zip(panels, depths, strict=True):
        for place, (arm, colour) in enumerate(colours.items()):
            mine = points[(points["arm"] == arm) & (points["depth"] == depth)]
            x = np.array(rates) * 10 ** (_APART * (place - (len(colours) - 1) / 2))
            low, middle, high = (
                mine.groupby("rate")["loss"].quantile(q).to_numpy() for q in (0.25, 0.5, 0.75)
            )
            bars = np.vstack([middle - low, high - middle])
            axes.errorbar(x, middle, bars, color=colour, label=arm, marker="o", markersize=3.5)
            for at, rate in zip(x, rates, strict=True):
                failed = mine[(mine["rate"] == rate) & mine["failed"]]
                # One above the other, so that crosses can be counted.
                lifted = failed["loss"].to_numpy() * 1.05 ** np.arange(1, len(failed) + 1)
                axes.plot([at] * len(failed), lifted, "x", color=colour, markersize=5)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.set_xlabel("learning rate")
        axes.set_title(f"{depth} Fourier blocks", loc="left", fontsize=9)
        use_log_scale(axes)
        mark_level(axes, collected.constant_loss, "best constant object, C")
        floor = collected.noise_floor
        if floor is not None and floor > 0.5 * points["loss"].min():
            mark_level(axes, floor, "noise alone", ":")
    panels[0].set_ylabel("composite loss")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def areas(stress: Stress) -> Figure:
    """Return A of each seed, a row per arm, with the mean."""
    arms = list(stress.areas)
    figure = new_figure(6.4, 0.42 * len(arms) + 0.9)
    axes = figure.subplots()
    for place, (arm, colour) in enumerate(arm_colours(arms).items()):
        values = np.asarray(stress.areas[arm])
        axes.plot(values, np.full(values.shape, place), "o", color=colour, alpha=0.7)
        axes.plot([values.mean()], [place], "|", color=INK, markersize=16, markeredgewidth=1.6)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel("A, mean composite loss over the rates (lower is better); bar: mean")
    return figure
