"""Figures of what came out: scores by seed, reconstructions beside the truth, quality and time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from ptycho_torch.files import io
from ptycho_torch.report.collected import Collected
from ptycho_torch.report.figures.marks import mark_runs, title_of
from ptycho_torch.report.runs_table import KINDS, Kind
from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.plot_style import (
    INK,
    REFERENCE,
    arm_colours,
    new_figure,
    use_log_scale,
)
from ptycho_torch.statistics.runs import shown_runs
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPLEX_ERROR, Score

_COLUMNS = 5
_LEAST_S = 1e-4


def metric_spread(collected: Collected) -> Figure:
    """Return a dot per seed for the loss and the main scores, with what baselines score."""
    arms, runs, baselines = collected.stage.arms, collected.runs, collected.baselines
    figure = new_figure(9.2, 5.6)
    panels = figure.subplots(2, 2).ravel()
    for score, axes in zip(collected.main_scores, panels, strict=True):
        _spread_panel(axes, runs, arms, score)
        if score is collected.loss:
            known = (collected.constant_loss, collected.noise_floor)
            levels = dict(zip(("best constant object", "noise alone"), known, strict=True))
            if not collected.is_mae:
                levels = {}
        else:
            levels = {
                "constant image": baselines["constant"][score.name],
                "truth": baselines["truth"][score.name],
            }
        _reference_lines(axes, levels, keep_limits=score is collected.loss)
        axes.set_title(title_of(score), loc="left", fontsize=9)
        if reason := collected.undefined.get(score.name):
            axes.text(0.5, 0.5, f"not defined: {reason}", ha="center", transform=axes.transAxes)
            axes.set_yticks([])
    figure.supxlabel(
        "dot: successful run; cross: failed run (at the foot: it has no score); bar: median of "
        "successful runs",
        fontsize=8,
    )
    return figure


def _spread_panel(axes: Axes, runs: pd.DataFrame, arms: Sequence[str], score: Score) -> None:
    spanned = runs[score.column].astype(float).dropna()
    # Within a factor of three a logarithmic axis has no tick but one.
    if score.column.endswith("loss") and spanned.min() > 0 and spanned.max() > 3 * spanned.min():
        use_log_scale(axes)
    for place, (arm, colour) in enumerate(arm_colours(arms).items()):
        mine = runs[runs["arm"] == arm]
        offsets = np.linspace(-0.22, 0.22, len(mine)) if len(mine) > 1 else np.zeros(len(mine))
        mark_runs(axes, (place + offsets).tolist(), mine, score.column, colours=(colour, colour))
        foot = axes.get_xaxis_transform()
        for x in place + offsets[mine[score.column].isna() & mine["failed"]]:
            axes.plot([x], [0.04], "x", transform=foot, color=colour, markeredgewidth=1.6)
            axes.text(x + 0.08, 0.04, "no score", fontsize=6.5, va="center", transform=foot)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(arms)), list(arms), rotation=0 if len(arms) < 6 else 20)
    axes.set_xlim(-0.6, len(arms) - 0.4)


def _reference_lines(axes: Axes, levels: dict[str, float | None], *, keep_limits: bool) -> None:
    """Draw what baselines score; with `keep_limits` those out of range are named at the edge.

    Losses span decades between noise and nothing, where no seed could be told from another.
    """
    low, high = axes.get_ylim()
    for (label, value), line in zip(levels.items(), ("--", ":"), strict=False):
        if value is None:
            continue
        level, arrow = value, ""
        if keep_limits and not low <= value <= high:
            level, arrow = (high, " (above)") if value > high else (low, " (below)")
        else:
            axes.axhline(level, zorder=1, color=REFERENCE, linestyle=line, linewidth=0.9)
        axes.annotate(
            *(f"{label}{arrow}\n{number(value)}", (1.015, level)),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7,
            color=INK,
            annotation_clip=False,
        )
    if keep_limits:
        axes.set_ylim(low, high)


def reconstructions(collected: Collected) -> Figure:
    """Return amplitude and phase, as stitched, of chosen runs beside the truth, one scale each."""
    runs = [run for _, run in shown_runs(collected.runs).iterrows()]
    arrays = [io.read_npz(collected.reconstructions[run["arm"], int(run["seed"])]) for run in runs]
    kinds = [
        kind for kind in KINDS if kind.score.name not in collected.undefined or kind is KINDS[0]
    ]
    count = len(arrays) + 1
    columns, rows = min(_COLUMNS, count), -(-count // _COLUMNS)
    figure = new_figure(max(1.8 * columns + 0.8, 4.0), 2.15 * rows * len(kinds))
    parts = figure.subfigures(len(kinds), 1, squeeze=False).ravel()
    for part, kind in zip(parts, kinds, strict=True):
        if not arrays:
            part.text(0.5, 0.5, "no run to show", ha="center")
            continue
        images = [arrays[0][kind.truth][0], *(item[kind.key][0] for item in arrays)]
        titles = [
            f"{run['arm']}, seed {run['seed']}\n{run['outcome']}, {kind.caption(run)}"
            for run in runs
        ]
        _image_block(part, images, ["truth\n", *titles], kind)
    return figure


def _image_block(
    part: SubFigure, images: list[NDArray[np.float32]], titles: list[str], kind: Kind
) -> None:
    """Draw images on the truth's scale, which is that of the first."""
    columns = min(_COLUMNS, len(images))
    grid = part.subplots(-(-len(images) // columns), columns, squeeze=False).ravel()
    low, high = float(np.nanmin(images[0])), float(np.nanmax(images[0]))
    for axes, image, title in zip(grid, images, titles, strict=False):
        shown = axes.imshow(image, vmin=low, vmax=high, cmap=kind.colours, interpolation="nearest")
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
        if not np.isfinite(image).any():
            axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    for spare in grid[len(images) :]:
        spare.remove()
    finite = np.concatenate([image[np.isfinite(image)] for image in images])
    ends = (bool(finite.min() < low), bool(finite.max() > high))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(ends, "neither")
    place: dict[str, Any] = {
        "ax": list(grid[: len(images)]),
        "fraction": 0.03,
        "pad": 0.01,
        "aspect": 30,
    }
    part.colorbar(shown, label=kind.label, extend=extend, **place)


def time_to_quality(collected: Collected) -> Figure:
    """Return amplitude SSIM and complex error against seconds, on a log axis.

    A line is rPIE; of each successful run of an arm a filled dot stands at its training time, a
    hollow one at the time of inference, at the same quality.
    """
    figure = new_figure(8.4, 3.4)
    left, right = figure.subplots(1, 2)
    rpie = collected.conventional
    assert rpie is not None
    for axes, score in ((left, AMPLITUDE_SSIM), (right, COMPLEX_ERROR)):
        known = [row for row in rpie["scored"] if row[score.name] is not None]
        seconds = [max(row["seconds"] or 0.0, _LEAST_S) for row in known]
        values = [float(row[score.name] or 0.0) for row in known]
        line: dict[str, Any] = {"color": INK, "linewidth": 1.2, "marker": "s", "markersize": 3.5}
        axes.plot(seconds, values, "-", label="rPIE, by iteration", **line)
        for row, at in zip(known, zip(seconds, values, strict=True), strict=True):
            where = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{row['iteration']}", at, fontsize=7, color=INK, **where)
        _networks(axes, collected, score)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("seconds")
        axes.set_title(title_of(score), loc="left", fontsize=9)
        axes.grid(color="#eeeeee", linewidth=0.8)
        axes.set_axisbelow(True)
    use_log_scale(right)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure


def _networks(axes: Axes, collected: Collected, score: Score) -> None:
    for arm, colour in arm_colours(collected.stage.arms).items():
        runs = collected.runs_of(arm)
        good = runs[~runs["failed"].astype(bool)]
        for column, face, what in (
            ("wall_s", colour, "training"),
            ("inference_s", "white", "inference"),
        ):
            seconds = np.maximum(good[column].astype(float), _LEAST_S)
            look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 5}
            axes.plot(seconds, good[score.column], "o", label=f"{arm}, {what}", **look)
