"""Figures of how runs went: learning curves and survival, a panel per arm on common axes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from ptycho_torch.report.collected import Collected
from ptycho_torch.report.figures.marks import mark_level
from ptycho_torch.runtime.markdown import percent
from ptycho_torch.runtime.plot_style import (
    INK,
    PALE,
    arm_colours,
    arm_panels,
    first_column,
    use_log_scale,
)
from ptycho_torch.statistics.estimates import SurvivalStep

# Failed runs named in a panel of the learning curves; the summary lists them all.
_MOST_NAMED = 5


def learning_curves(collected: Collected) -> Figure:
    """Return the validation loss by epoch: a panel per arm, a line per seed, crosses for failures.

    Where arms are trained with different losses, it is the MAE, which all of them log.
    """
    arms, history = list(collected.stage.arms), collected.history
    names = set(collected.runs["val_loss_name"])
    column = names.pop() if len(names) == 1 else "mae_val_loss"
    train = column.replace("_val_", "_train_")
    levels: dict[str, float | None] = {}
    if column == "mae_val_loss":
        levels = {"best constant object": collected.constant_loss, "noise": collected.noise_floor}
    figure, panels = arm_panels(arms)
    colours = arm_colours(arms)
    for arm, axes in panels.items():
        for (other, _), rows in history.groupby(["arm", "seed"]):
            if other != arm:
                axes.plot(rows["epoch"], rows[column], color=PALE, linewidth=0.7, zorder=1)
                continue
            line: dict[str, Any]
            if train in rows and rows[train].notna().any():
                line = {"color": colours[arm], "linewidth": 0.8, "zorder": 2}
                axes.plot(rows["epoch"], rows[train], ":", **line)
            marker = "." if len(rows) == 1 else ""  # A line through one point is not seen.
            line = {"color": colours[arm], "linewidth": 1.3, "zorder": 3}
            axes.plot(rows["epoch"], rows[column], f"{marker}-", **line)
        axes.set_title(arm)
        _epochs(axes)
        _scale(axes, history[column].astype(float).to_numpy(), levels)
        _failures(axes, collected.runs_of(arm), history[history["arm"] == arm], column)
    for axes in first_column(panels):
        axes.set_ylabel(f"{column.split('_')[0].upper()} loss")
    looks: dict[str, dict[str, Any]] = {
        "validation, one line per seed": {"color": INK, "linewidth": 1.3},
        "training": {"color": INK, "linewidth": 0.8, "linestyle": ":"},
        "other arms": {"color": PALE, "linewidth": 0.8},
        "failed": {"color": INK, "marker": "x", "linestyle": "", "markeredgewidth": 2},
    }
    keys = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))


def _scale(axes: Axes, values: np.ndarray, levels: Mapping[str, float | None]) -> None:
    """Take a log axis where all losses are positive; draw the references that are in range."""
    values = values[np.isfinite(values)]
    if not values.size:
        axes.text(0.5, 0.5, "no finished epoch", ha="center", transform=axes.transAxes)
        return
    if values.min() > 0:
        use_log_scale(axes)
        axes.set_ylim(values.min() * 0.85, values.max() * 1.8)
    for text, level in levels.items():
        if level is not None and values.min() * 0.8 <= level <= values.max() * 1.25:
            mark_level(axes, level, text)


def _failures(axes: Axes, runs: pd.DataFrame, history: pd.DataFrame, column: str) -> None:
    """Mark an arm's failed runs at their epoch: on the curve, or at the top if there is none."""
    lines = []
    for index, (_, run) in enumerate(runs[runs["failed"]].iterrows()):
        losses = history.loc[history["seed"] == run["seed"], column].astype(float)
        finite = losses[np.isfinite(losses)]
        has_curve = len(finite) > 0
        axes.plot(
            [float(run["failure_epoch"])],
            [float(finite.iloc[-1]) if has_curve else 0.97 - 0.07 * index],
            "x",
            color=INK,
            markersize=7,
            markeredgewidth=2,
            transform=axes.transData if has_curve else axes.get_xaxis_transform(),
            path_effects=[Stroke(linewidth=4, foreground="white"), Normal()],
            zorder=5,
            clip_on=False,
        )
        lines.append(f"{run['outcome']}, seed {run['seed']}")
    if len(lines) > _MOST_NAMED:
        lines = [*lines[: _MOST_NAMED - 1], f"and {len(lines) - _MOST_NAMED + 1} more"]
    place: dict[str, Any] = {"ha": "right", "va": "top", "transform": axes.transAxes}
    axes.text(0.98, 0.98, "\n".join(lines), fontsize=7.5, **place)


def survival(collected: Collected) -> Figure:
    """Return the share of runs that have not failed by epoch: a Kaplan-Meier curve per arm."""
    arms = list(collected.stage.arms)
    figure, panels = arm_panels(arms, height_in=2.3)
    colours = arm_colours(arms)
    for arm, axes in panels.items():
        _survival_panel(axes, collected.survival(arm), colours[arm])
        axes.set_title(arm)
        axes.set_xlim(left=0)
        _epochs(axes)
    for axes in first_column(panels):
        axes.set_ylabel("share not failed")
    shade = (
        f"shaded: {percent(collected.study.statistics.confidence)} interval, where it is defined"
    )
    figure.supxlabel(f"{shade}; tick: completed runs are censored", fontsize=8)
    return figure


def _survival_panel(axes: Axes, curve: list[SurvivalStep], colour: str) -> None:
    epochs, shares = [step.epoch for step in curve], [step.survival for step in curve]
    low = [step.interval.low if step.interval else np.nan for step in curve]
    high = [step.interval.high if step.interval else np.nan for step in curve]
    axes.step(epochs, shares, where="post", color=colour, linewidth=1.8)
    axes.fill_between(epochs, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
    # The last step has no width to fill.
    ends = ([epochs[-1]] * 2, [low[-1], high[-1]])
    axes.plot(*ends, color=colour, alpha=0.4, linewidth=4, solid_capstyle="butt")
    for step, later in zip(curve, [*(step.at_risk for step in curve[1:]), 0], strict=True):
        if step.at_risk - step.failures > later:
            axes.plot([step.epoch], [step.survival], "|", color=colour, markersize=9)
    failures, runs = sum(step.failures for step in curve), curve[0].at_risk
    axes.text(0.04, 0.06, f"{failures} of {runs} failed", transform=axes.transAxes, fontsize=8)
    axes.set_ylim(0, 1.08)
