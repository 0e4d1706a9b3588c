"""Figures of how runs went: by epoch, and by learning rate at each depth."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from ptycho_torch.report.collect import Collected
from ptycho_torch.runtime.plot_style import (
    INK,
    PALE,
    REFERENCE,
    arm_colours,
    arm_panels,
    first_column,
    new_figure,
    use_log_scale,
)
from ptycho_torch.statistics.stress import Stress

# Arms stand beside each other at a learning rate, not on top of each other: parts of a decade.
_APART = 0.018


def learning_curves(collected: Collected) -> Figure:
    """Return the losses by epoch: a panel per arm, a line per seed, crosses for failures.

    Where arms are trained with different losses, it is the MAE, which all of them log.
    """
    arms, history = list(collected.stage.arms), collected.history
    names = set(collected.runs["val_loss_name"])
    column = names.pop() if len(names) == 1 else "mae_val_loss"
    train = column.replace("_val_", "_train_")
    figure, panels = arm_panels(arms)
    for (arm, axes), colour in zip(panels.items(), arm_colours(arms).values(), strict=True):
        for (other, seed), rows in history.groupby(["arm", "seed"]):
            if other != arm:
                axes.plot(rows["epoch"], rows[column], color=PALE, linewidth=0.7, zorder=1)
                continue
            if train in rows:
                axes.plot(rows["epoch"], rows[train], ":", color=colour, linewidth=0.8)
            # A line through one point is not seen.
            line = ".-" if len(rows) == 1 else "-"
            axes.plot(rows["epoch"], rows[column], line, color=colour, linewidth=1.3)
            mine = collected.runs_of(arm)
            failed_at = mine.loc[mine["failed"] & (mine["seed"] == seed), "failure_epoch"]
            finite = rows[column].astype(float).dropna()
            if len(failed_at) and len(finite):
                look: dict[str, Any] = {"color": INK, "markersize": 7, "markeredgewidth": 2}
                axes.plot(failed_at, finite.iloc[-1:], "x", **look, zorder=5)
        failed = collected.failed(arm)
        axes.set_title(f"{arm}: {failed.failures} of {failed.runs} failed")
        _epochs(axes)
        _losses(axes, history[column].astype(float), column, collected)
    for axes in first_column(panels):
        axes.set_ylabel(f"{column.split('_')[0].upper()} loss")
    looks: dict[str, dict[str, Any]] = {
        "validation, one line per seed": {"linewidth": 1.3},
        "training": {"linewidth": 0.8, "linestyle": ":"},
        "other arms": {"color": PALE, "linewidth": 0.8},
        "failed": {"marker": "x", "linestyle": "", "markeredgewidth": 2},
    }
    keys = [Line2D([], [], label=name, **{"color": INK, **look}) for name, look in looks.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8)
    return figure


def _epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))


def _losses(axes: Axes, values: "pd.Series[float]", column: str, collected: Collected) -> None:
    """Take a log axis where all losses are positive, and draw the references that are in range."""
    values = values[np.isfinite(values)]
    if not len(values) or values.min() <= 0:
        return
    use_log_scale(axes)
    if column != "mae_val_loss":
        return
    for text, level in (
        ("best constant object", collected.constant_loss),
        ("noise alone", collected.noise_floor),
    ):
        if level is not None and values.min() * 0.8 <= level <= values.max() * 1.25:
            mark_level(axes, level, text)


def mark_level(axes: Axes, level: float, text: str, line: str = "--") -> None:
    """Draw a reference level across, and name it at its right end."""
    axes.axhline(level, color=REFERENCE, linestyle=line, linewidth=0.8, zorder=0)
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    axes.annotate(text, (1, level), fontsize=7, color=REFERENCE, **where)


def survival(collected: Collected) -> Figure:
    """Return the share of runs that have not failed by epoch: a Kaplan-Meier curve per arm."""
    arms = list(collected.stage.arms)
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    for place, (arm, colour) in enumerate(arm_colours(arms).items()):
        curve, failed = collected.survival(arm), collected.failed(arm)
        # Lines that coincide are drawn beside each other.
        shares, line = curve["survival"] - 0.004 * place, ("-", "--")[place // 7 % 2]
        label = f"{arm}: {failed.failures} of {failed.runs} failed"
        axes.step(curve["epoch"], shares, line, where="post", color=colour, label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.05)
    _epochs(axes)
    axes.set_ylabel("share not failed")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


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
