"""Figures of how runs went, by epoch: learning curves, survival, gradient norms at depth."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

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
from ptycho_torch.statistics.depth import gradient_bound


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
            _line(axes, rows, column, color=colour, linewidth=1.3)
            run = collected.runs_of(arm).set_index("seed").loc[seed]
            finite = rows[column].astype(float).dropna()
            if run["failed"] and len(finite):
                look: dict[str, Any] = {"color": INK, "markersize": 7, "markeredgewidth": 2}
                axes.plot([run["failure_epoch"]], [finite.iloc[-1]], "x", **look, zorder=5)
        failed = collected.failed(arm)
        axes.set_title(f"{arm}: {failed.failures} of {failed.runs} failed")
        _epochs(axes)
        _losses(axes, history[column].astype(float), column, collected)
    for axes in first_column(panels):
        axes.set_ylabel(f"{column.split('_')[0].upper()} loss")
    _legend(
        figure,
        {
            "validation, one line per seed": {"linewidth": 1.3},
            "training": {"linewidth": 0.8, "linestyle": ":"},
            "other arms": {"color": PALE, "linewidth": 0.8},
            "failed": {"marker": "x", "linestyle": "", "markeredgewidth": 2},
        },
    )
    return figure


def _line(axes: Axes, rows: pd.DataFrame, column: str, line: str = "-", **look: Any) -> None:
    """Draw a column by epoch; a line through one point is not seen, so it gets a dot."""
    axes.plot(rows["epoch"], rows[column], ("." if len(rows) == 1 else "") + line, **look)


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


def _legend(figure: Figure, looks: dict[str, dict[str, Any]]) -> None:
    keys = [Line2D([], [], label=name, **{"color": INK, **look}) for name, look in looks.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8)


def survival(collected: Collected) -> Figure:
    """Return the share of runs that have not failed by epoch: a Kaplan-Meier curve per arm."""
    arms = list(collected.stage.arms)
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    for place, (arm, colour) in enumerate(arm_colours(arms).items()):
        curve = collected.survival(arm)
        # Lines that coincide are drawn beside each other.
        shares = np.array([step.survival for step in curve]) - 0.006 * place
        epochs, line = [step.epoch for step in curve], ("-", "--")[place // 7 % 2]
        failures = sum(step.failures for step in curve)
        label = f"{arm}: {failures} of {curve[0].at_risk} failed"
        axes.step(epochs, shares, line, where="post", color=colour, label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.05)
    _epochs(axes)
    axes.set_ylabel("share not failed")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def gradient_norms(collected: Collected) -> Figure:
    """Return the 99th percentile of the gradient norm by epoch: deep arms beside shallow ones."""
    assert collected.study.stage_b is not None
    pairs, history = dict(collected.stage.depth), collected.history
    figure, panels = arm_panels(list(pairs))
    colours = arm_colours(list(pairs))
    for deep, axes in panels.items():
        for arm, line, width in ((pairs[deep], ":", 1.0), (deep, "-", 1.4)):
            for _, rows in history[history["arm"] == arm].groupby("seed"):
                _line(axes, rows, "grad_norm_p99", line, color=colours[deep], linewidth=width)
        factor = collected.study.stage_b.gradient_factor
        bound = gradient_bound(collected.runs, pairs[deep], factor)
        if bound:
            mark_level(axes, bound, f"bound {bound:.3g}")
        use_log_scale(axes)
        axes.set_title(deep, fontsize=9)
        _epochs(axes)
    for axes in first_column(panels):
        axes.set_ylabel("gradient norm,\n99th percentile")
    _legend(figure, {"deep, a line per seed": {}, "shallow": {"linestyle": ":"}})
    return figure
