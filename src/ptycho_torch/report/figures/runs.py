"""Figures of how runs went: by epoch, and by learning rate at each depth."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ptycho_torch.config.arms import derive
from ptycho_torch.report.collect import Collected
from ptycho_torch.runtime.plot_style import (
    INK,
    REFERENCE,
    Look,
    arm_looks,
    arm_panels,
    new_figure,
    on_lines,
    use_log_scale,
)
from ptycho_torch.statistics.stress import Stress

_REFERENCES = ("best constant object", "noise alone")
_SURVIVAL = "Runs not failed"
_CROSS: dict[str, Any] = {
    "marker": "x",
    "color": INK,
    "markersize": 7,
    "markeredgewidth": 2,
    "ls": "",
}


def learning_curves(collected: Collected) -> Figure:
    """Return the losses by epoch: a panel per arm, a line per seed, crosses for failures. If a run
    failed, a last panel has the Kaplan-Meier curves of the arms of which one did.

    Where arms are trained with different losses, it is the MAE, which all of them log.
    """
    study, arms = collected.study, collected.stage.arms
    looks = arm_looks(arms, study.arms, derive(study).bases)
    failing = {arm: look for arm, look in looks.items() if collected.failed(arm).failures}
    names = set(collected.runs["val_loss_name"])
    column = names.pop() if len(names) == 1 else "mae_val_loss"
    label = f"{column.split('_')[0].upper()} loss"
    figure, panels = arm_panels([*looks, *[_SURVIVAL][: len(failing)]], "epoch", label)
    if failing:
        _survival(panels.pop(_SURVIVAL), collected, failing)
    for arm, axes in panels.items():
        _losses(axes, collected, arm, column, looks[arm]["color"])
    if collected.history[column].min() > 0:
        for axes in panels.values():
            use_log_scale(axes)
    if column == "mae_val_loss":
        for axes in panels.values():
            _references(axes, collected)
    keys = {
        "validation, one line per seed": {"color": INK},
        "training": {"color": INK, "linestyle": ":"},
        "failed": _CROSS,
    }
    drawn, _ = axes.get_legend_handles_labels()
    handles = [*(Line2D([], [], label=name, **key) for name, key in keys.items()), *drawn]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _losses(axes: Axes, collected: Collected, arm: str, column: str, colour: str) -> None:
    history, mine = collected.history, collected.runs_of(arm).set_index("seed")
    for seed, rows in history[history["arm"] == arm].groupby("seed"):
        if (train := column.replace("_val_", "_train_")) in rows:
            axes.plot(rows["epoch"], rows[train], ":", color=colour, linewidth=0.8)
        axes.plot(rows["epoch"], rows[column], ".-", color=colour, linewidth=1.3, markersize=3)
        finite = rows[column].astype(float).dropna()
        if mine["failed"][seed] and len(finite):
            axes.plot(mine["failure_epoch"][seed], finite.iloc[-1], **_CROSS, zorder=5)
    failed = collected.failed(arm)
    axes.set_title(f"{on_lines(arm)}\n{failed.failures} of {failed.runs} failed", fontsize=9)


def _references(axes: Axes, collected: Collected) -> None:
    """Draw what the best constant object and the noise alone give, where they lie in sight."""
    low, high = axes.get_ylim()
    references = (collected.constant_loss, collected.noise_floor)
    for level, line, name in zip(references, ("--", ":"), _REFERENCES, strict=True):
        if level is not None and low <= level <= high:
            look: dict[str, Any] = {"linestyle": line, "linewidth": 0.8, "zorder": 0}
            axes.axhline(level, color=REFERENCE, label=name, **look)


def _survival(place: Axes, collected: Collected, looks: dict[str, Look]) -> None:
    """Draw the share of runs that have not failed by epoch where a panel of losses was to be."""
    figure, spec = place.get_figure(), place.get_subplotspec()
    place.remove()
    axes = figure.add_subplot(spec, sharex=figure.axes[0], xlabel="epoch", ylim=(-0.03, 1.05))
    for arm, look in looks.items():
        curve = collected.survival(arm)
        # Steps as points, which the legend keeps clear of.
        x, y = np.repeat(curve["epoch"], 2)[1:], np.repeat(curve["survival"], 2)[:-1]
        axes.plot(x, y, **look, markersize=3, label=arm)
    axes.set_title(f"{_SURVIVAL}\n(arms with a failure)", fontsize=9)
    axes.legend(fontsize=7, frameon=True, edgecolor="none")


def loss_by_rate(collected: Collected, stress: Stress) -> Figure:
    """Return a panel per depth: per arm the median composite loss over seeds with quartiles, and a
    cross per failed run, which counts as the best constant object."""
    points = stress.points
    depths, rates = points["depth"].unique(), np.sort(points["rate"].unique())
    figure = new_figure(max(4.9 * len(depths), 6.0), 3.9)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False).ravel()
    looks = arm_looks(stress.areas, collected.study.arms)
    # Arms stand beside each other at a rate, over at most half of the way to the next.
    step = min(0.04, 0.5 * np.diff(np.log10(rates)).min(initial=1.0) / len(looks))
    for axes, depth in zip(panels, depths, strict=True):
        for place, (arm, look) in enumerate(looks.items()):
            mine = points[(points["arm"] == arm) & (points["depth"] == depth)]
            x = rates * 10 ** (step * (place - (len(looks) - 1) / 2))
            low, middle, high = (
                mine.groupby("rate")["loss"].quantile(q).to_numpy() for q in (0.25, 0.5, 0.75)
            )
            bars = np.vstack([middle - low, high - middle])
            axes.errorbar(x, middle, bars, **look, label=arm, markersize=3.5)
            for at, rate in zip(x, rates, strict=True):
                failed = mine[(mine["rate"] == rate) & mine["failed"]]
                # One above the other, so that crosses can be counted.
                lifted = failed["loss"].to_numpy() * 1.05 ** np.arange(1, len(failed) + 1)
                axes.plot([at] * len(failed), lifted, "x", color=look["color"], markersize=5)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.set_xlabel("learning rate")
        axes.set_title(f"{depth} Fourier blocks", loc="left", fontsize=9)
        use_log_scale(axes)
        _references(axes, collected)
    panels[0].set_ylabel("composite loss")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def areas(collected: Collected, stress: Stress) -> Figure:
    """Return A of each seed, a row per arm, with the mean."""
    looks = arm_looks(stress.areas, collected.study.arms)
    figure = new_figure(6.4, 0.32 * len(looks) + 1.0)
    axes = figure.subplots()
    for place, (arm, look) in enumerate(looks.items()):
        values = np.asarray(stress.areas[arm])
        axes.plot(values, np.full(values.shape, place), alpha=0.7, **look | {"linestyle": ""})
        axes.plot([values.mean()], [place], "|", color=INK, markersize=16, markeredgewidth=1.6)
    axes.set_yticks(range(len(looks)), list(looks))
    axes.set_ylim(len(looks) - 0.5, -0.5)
    axes.set_xlabel("A, mean composite loss over the rates (lower is better); bar: mean")
    return figure
