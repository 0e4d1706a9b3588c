"""Figures of how runs went: learning curves and survival, a panel per arm on common axes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from ptycho_torch.report.summarise.collect import Collected
from ptycho_torch.runtime.markdown import percent
from ptycho_torch.runtime.plot_style import (
    INK,
    PALE,
    REFERENCE,
    arm_colours,
    arm_panels,
    first_column,
    use_log_scale,
)
from ptycho_torch.statistics.estimates import SurvivalStep

# Failed runs named in a panel of the learning curves; the summary lists them all.
_MOST_NAMED = 5


def learning_curves(
    collected: Collected, arms: Sequence[str], column: str, floor: float | None
) -> Figure:
    """Return the validation loss by epoch: a panel per arm, a line per seed, crosses for failures.

    Parameters
    ----------
    collected
        The runs and their histories.
    arms
        In the order of the panels.
    column
        Column of the history, such as `mae_val_loss`.
    floor
        Loss of the noise alone; drawn if it lies in the range of the curves.
    """
    figure, panels = arm_panels(arms)
    colours = arm_colours(arms)
    train = column.replace("_val_", "_train_")
    history = collected.history
    for arm, axes in panels.items():
        for other, rows in _by_seed(history, arms):
            if other != arm:
                axes.plot(rows["epoch"], rows[column], color=PALE, linewidth=0.7, zorder=1)
        colour = colours[arm]
        for _, rows in _by_seed(history, [arm]):
            if train in rows and rows[train].notna().any():
                axes.plot(rows["epoch"], rows[train], ":", color=colour, linewidth=0.8, zorder=2)
            axes.plot(rows["epoch"], rows[column], color=colour, linewidth=1.3, zorder=3)
            _point_if_single(axes, rows, column, colour)
        axes.set_title(arm)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
    _scale(panels, history, column, floor)
    for arm, axes in panels.items():
        _failures(axes, collected.runs[collected.runs["arm"] == arm], history, column)
    for axes in first_column(panels):
        axes.set_ylabel(f"{column.split('_')[0].upper()} loss")
    figure.legend(handles=_keys(train, history), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _by_seed(history: pd.DataFrame, arms: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Return (arm, rows) of every run of these arms."""
    return [
        (arm, rows) for arm in arms for _, rows in history[history["arm"] == arm].groupby("seed")
    ]


def _point_if_single(axes: Axes, rows: pd.DataFrame, column: str, colour: str) -> None:
    if len(rows) == 1:  # A line through one point is not seen.
        axes.plot(rows["epoch"], rows[column], ".", color=colour, zorder=3)


def _scale(
    panels: Mapping[str, Axes], history: pd.DataFrame, column: str, floor: float | None
) -> None:
    """Take a log axis where all losses are positive; draw the references that are in range."""
    values = history[column].astype(float).to_numpy()
    values = values[np.isfinite(values)]
    for axes in panels.values():
        if not values.size:
            axes.text(0.5, 0.5, "no finished epoch", ha="center", transform=axes.transAxes)
            continue
        if values.min() > 0:
            use_log_scale(axes)
            axes.set_ylim(values.min() * 0.85, values.max() * 1.8)
        for level, text in (
            (1.0 if column.startswith("mae") else None, "predicting nothing"),
            (floor, "noise"),
        ):
            if level is not None and values.min() * 0.8 <= level <= values.max() * 1.25:
                axes.axhline(level, color=REFERENCE, linestyle="--", linewidth=0.8, zorder=0)
                axes.annotate(
                    text,
                    (1, level),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                    fontsize=7,
                    color=REFERENCE,
                )


def _failures(axes: Axes, runs: pd.DataFrame, history: pd.DataFrame, column: str) -> None:
    """Mark an arm's failed runs at their epoch: on the curve, or at the top if there is none."""
    lines = []
    for index, (_, run) in enumerate(runs[runs["failed"]].iterrows()):
        rows = history[(history["arm"] == run["arm"]) & (history["seed"] == run["seed"])]
        finite = rows.loc[np.isfinite(rows[column].astype(float)), column]
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
    axes.text(
        *(0.98, 0.98, "\n".join(lines)),
        ha="right",
        va="top",
        fontsize=7.5,
        transform=axes.transAxes,
    )


def _keys(train: str, history: pd.DataFrame) -> list[Line2D]:
    keys = [Line2D([], [], color=INK, linewidth=1.3, label="validation, one line per seed")]
    if train in history:
        keys.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=":", label="training"))
    keys.append(Line2D([], [], color=PALE, linewidth=0.8, label="other arms"))
    cross = Line2D([], [], color=INK, marker="x", linestyle="", markeredgewidth=2, label="failed")
    return [*keys, cross]


def survival(curves: Mapping[str, Sequence[SurvivalStep]], confidence: float) -> Figure:
    """Return the share of runs that have not failed by epoch: a Kaplan-Meier curve per arm."""
    figure, panels = arm_panels(list(curves), height_in=2.3)
    colours = arm_colours(list(curves))
    for arm, axes in panels.items():
        _survival_panel(axes, curves[arm], colours[arm])
        axes.set_title(arm)
        axes.set_xlabel("epoch")
    for axes in first_column(panels):
        axes.set_ylabel("share not failed")
    shade = f"shaded: {percent(confidence)} interval, where it is defined"
    figure.supxlabel(f"{shade}; tick: completed runs are censored", fontsize=8)
    return figure


def _survival_panel(axes: Axes, curve: Sequence[SurvivalStep], colour: str) -> None:
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
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
