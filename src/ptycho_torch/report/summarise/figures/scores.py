"""Figures of what came out: scores by seed, and reconstructions beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ptycho_torch.files import io
from ptycho_torch.report.summarise.collect import Collected
from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.plot_style import (
    INK,
    REFERENCE,
    arm_colours,
    new_figure,
    use_log_scale,
)
from ptycho_torch.statistics.runs import shown_runs
from ptycho_torch.statistics.scores import (
    PHASE_SSIM,
    RECONSTRUCTION_SCORES,
    Score,
    image_score,
)

_COLUMNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A level that a score is to be seen against."""

    label: str
    """What scores it."""

    value: float | None
    """The score; null if not defined."""

    line: str
    """Line style."""


def loss_references(loss: Score, unit_is_mae: bool, noise_floor: float | None) -> list[Reference]:
    """Return what predicting nothing and what the noise alone score in a validation loss."""
    nothing = 1.0 if unit_is_mae else None
    return [
        Reference(label="predicting nothing", value=nothing, line="--"),
        Reference(label="noise alone", value=noise_floor if unit_is_mae else None, line=":"),
    ]


def metric_spread(
    collected: Collected, arms: Sequence[str], loss: Score, references: list[Reference]
) -> Figure:
    """Return a dot per seed for the loss and the main scores, with what baselines score.

    Parameters
    ----------
    collected
        The runs and the baselines.
    arms
        In the order of the horizontal axis.
    loss
        The loss that arms are compared by.
    references
        Levels for the panel of the loss.
    """
    scores = (loss, *RECONSTRUCTION_SCORES)
    figure = new_figure(9.2, 5.6)
    for score, axes in zip(scores, figure.subplots(2, 2).ravel(), strict=True):
        lines = references
        if score is not loss:
            lines = [
                Reference(label=label, value=collected.baselines[block][score.name], line=line)
                for label, block, line in (
                    ("constant image", "constant", "--"),
                    ("truth", "truth", ":"),
                )
            ]
        _spread_panel(axes, collected.runs, arms, score)
        _reference_lines(axes, lines, keep_limits=score is loss)
        better = "lower" if score.lower_is_better else "higher"
        axes.set_title(f"{score.label} ({better} is better)", loc="left", fontsize=9)
        reason = collected.undefined.get(score.name)
        if reason:
            axes.text(0.5, 0.5, f"not defined: {reason}", ha="center", transform=axes.transAxes)
            axes.set_yticks([])
    figure.supxlabel(
        "dot: successful run; cross: failed run (at the foot: it has no score); bar: median of "
        "successful runs",
        fontsize=8,
    )
    return figure


def _spread_panel(axes: Axes, runs: pd.DataFrame, arms: Sequence[str], score: Score) -> None:
    colours = arm_colours(arms)
    values = runs[score.column].astype(float)
    spanned = values.dropna()
    # Within a factor of three a logarithmic axis has no tick but one.
    if score.column.endswith("loss") and spanned.min() > 0 and spanned.max() > 3 * spanned.min():
        use_log_scale(axes)
    for place, arm in enumerate(arms):
        mine = runs["arm"] == arm
        offsets = np.linspace(-0.22, 0.22, mine.sum()) if mine.sum() > 1 else np.zeros(mine.sum())
        across, heights = place + offsets, values[mine].to_numpy()
        failed = runs.loc[mine, "failed"].to_numpy(bool)
        colour, known = colours[arm], np.isfinite(heights)
        cross: dict[str, Any] = {"color": colour, "markersize": 7, "markeredgewidth": 1.8}
        good, bad, lost = known & ~failed, known & failed, ~known & failed
        axes.plot(across[good], heights[good], "o", color=colour, alpha=0.85, markersize=5)
        axes.plot(across[bad], heights[bad], "x", **cross)
        foot = axes.get_xaxis_transform()
        axes.plot(across[lost], np.full(lost.sum(), 0.04), "x", transform=foot, **cross)
        for x in across[lost]:
            axes.text(x + 0.08, 0.04, "no score", fontsize=6.5, va="center", transform=foot)
        if good.sum() > 1:
            bar = (place - 0.32, place + 0.32)
            axes.hlines(np.median(heights[good]), *bar, color=colour, linewidth=1.2, zorder=2)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(arms)), list(arms), rotation=0 if len(arms) < 6 else 20)
    axes.set_xlim(-0.6, len(arms) - 0.4)


def _reference_lines(
    axes: Axes, references: Sequence[Reference], *, keep_limits: bool = False
) -> None:
    """Draw what baselines score; with `keep_limits` those out of range are named at the edge.

    Losses span decades between noise and nothing, where no seed could be told from another.
    """
    low, high = axes.get_ylim()
    for reference in references:
        if reference.value is not None:
            level, arrow = reference.value, ""
            if keep_limits and not low <= level <= high:
                arrow = " (above)" if level > high else " (below)"
                level = min(max(level, low), high)
            else:
                line: dict[str, Any] = {
                    "color": REFERENCE,
                    "linestyle": reference.line,
                    "linewidth": 0.9,
                }
                axes.axhline(level, zorder=1, **line)
            axes.annotate(
                f"{reference.label}{arrow}\n{number(reference.value)}",
                (1.015, level),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=7,
                color=INK,
                annotation_clip=False,
            )
    if keep_limits:
        axes.set_ylim(low, high)


def reconstructions(collected: Collected, arms: Sequence[str]) -> Figure:
    """Return amplitude and synchronised phase of chosen runs beside the truth, one scale each."""
    chosen = shown_runs(collected.runs)
    arrays = [
        io.read_npz(collected.reconstructions[(str(run["arm"]), int(run["seed"]))])
        for _, run in chosen.iterrows()
    ]
    kinds = [("amplitude", "truth_amplitude", "amplitude", "viridis")]
    if PHASE_SSIM.name not in collected.undefined:
        label = "phase, rad"
        kinds.append(("phase_synchronised", "truth_phase", label, "cividis"))
    count = len(arrays) + 1
    columns, rows = min(_COLUMNS, count), -(-count // _COLUMNS)
    figure = new_figure(max(1.8 * columns + 0.8, 4.0), 2.15 * rows * len(kinds))
    parts = figure.subfigures(len(kinds), 1, squeeze=False).ravel()
    for part, (key, truth, label, colours) in zip(parts, kinds, strict=True):
        if not arrays:
            part.text(0.5, 0.5, "no run to show", ha="center")
            continue
        images = [arrays[0][truth][0], *(item[key][0] for item in arrays)]
        titles = ["truth\n", *(_title(run, key) for _, run in chosen.iterrows())]
        _image_block(part, images, titles, label=label, colours=colours)
    return figure


def _image_block(
    part: SubFigure,
    images: Sequence[NDArray[np.float32]],
    titles: Sequence[str],
    *,
    label: str,
    colours: str,
) -> None:
    """Draw images on the truth's scale, which is that of the first."""
    columns = min(_COLUMNS, len(images))
    grid = part.subplots(-(-len(images) // columns), columns, squeeze=False).ravel()
    low, high = float(np.nanmin(images[0])), float(np.nanmax(images[0]))
    shown = None
    for axes, image, title in zip(grid, images, titles, strict=False):
        shown = axes.imshow(image, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
        if not np.isfinite(image).any():
            axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    for spare in grid[len(images) :]:
        spare.remove()
    finite = np.concatenate([image[np.isfinite(image)] for image in images])
    ends = (bool(finite.min() < low), bool(finite.max() > high))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(ends, "neither")
    if shown is not None:
        used = list(grid[: len(images)])
        part.colorbar(
            shown, ax=used, label=label, extend=extend, fraction=0.03, pad=0.01, aspect=30
        )


def _title(run: "pd.Series[Any]", image: str) -> str:
    """Return arm, seed, outcome and the SSIM of the image that is shown."""
    score = run[image_score(image, "ssim").column]
    ssim = "no SSIM" if pd.isna(score) else f"SSIM {number(float(score))}"
    return f"{run['arm']}, seed {run['seed']}\n{run['outcome']}, {ssim}"
