"""Figures of a measurement: objects, ring correlation, errors by place, patterns, losses.

Letters: H rows, W columns of the box in which objects are compared, or of a frame.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ptycho_torch.report.summarise.real_data import Measurement
from ptycho_torch.runtime.plot_style import (
    REFERENCE,
    arm_colours,
    new_figure,
    save,
    styled,
    use_log_scale,
)

_MOST_COLUMNS = 5


def draw_all(found: Measurement, folder: Path) -> None:
    """Write every figure of `FIGURES`, PNG and SVG."""
    with styled():
        for name, draw in FIGURES.items():
            save(draw(found), folder, name)


def reconstructions(found: Measurement) -> Figure:
    """Return amplitude and phase of rPIE and of each network, on rPIE's scales."""
    shown = found.shown()[:_MOST_COLUMNS]
    figure = new_figure(2.5 * len(shown) + 0.8, 5.4)
    grid = figure.subplots(2, len(shown), squeeze=False)
    reference = found.rpie.curves["reference"]
    turn = np.exp(-1j * np.angle(np.exp(1j * np.angle(reference)).mean()))
    kinds: list[tuple[str, Callable[[NDArray[Any]], NDArray[Any]]]] = [
        ("amplitude", np.abs),
        ("phase, rad", lambda image: np.angle(image * turn)),
    ]
    for number, (row, (label, part)) in enumerate(zip(grid, kinds, strict=True)):
        low, high = np.percentile(part(reference), [0.5, 99.5])
        for axes, result in zip(row, shown, strict=True):
            drawn = axes.imshow(part(result.curves["image"]), cmap="gray", vmin=low, vmax=high)
            _bare(axes)
            if number == 0:
                axes.set_title(result.name)
        figure.colorbar(drawn, ax=list(row), label=label, shrink=0.85)
    return figure


def ring_correlation(found: Measurement) -> Figure:
    """Return the Fourier ring correlation of the two halves, with three thresholds."""
    figure = new_figure(8.6, 3.6)
    shown = found.shown()
    colours = arm_colours([result.name for result in shown])
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("complex", "phase"), strict=True):
        for result in shown:
            axes.plot(
                result.curves["frc_frequency"],
                result.curves[f"frc_{kind}"],
                color=colours[result.name],
                label=result.name,
                lw=1.3,
            )
        curves = found.rpie.curves
        axes.plot(curves["frc_frequency"], curves["frc_half_bit"], color=REFERENCE, ls="-", lw=1,
                  label="half bit")  # fmt: skip
        axes.axhline(0.5, color=REFERENCE, ls="--", lw=1, label="1/2")
        axes.axhline(1 / 7, color=REFERENCE, ls=":", lw=1, label="1/7")
        axes.set_title(f"{kind} object", loc="left")
        axes.set_xlabel("spatial frequency, cycles per pixel")
        axes.set_ylim(-0.2, 1.05)
        axes.set_xlim(0, 0.5)
    figure.axes[0].set_ylabel("correlation of two half scans")
    figure.axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def r_factor_map(found: Measurement) -> Figure:
    """Return the R factor of each frame where it was taken; the frames held out are squares."""
    shown = found.shown()[:_MOST_COLUMNS]
    figure = new_figure(2.6 * len(shown) + 0.8, 3.1)
    values = [np.concatenate([r.curves["train_r"], r.curves["held_out_r"]]) for r in shown]
    every = np.concatenate(values)
    low, high = np.nanpercentile(every, [1, 99])
    row = figure.subplots(1, len(shown), squeeze=False, sharex=True, sharey=True)[0]
    for axes, result in zip(row, shown, strict=True):
        curves = result.curves
        for part, marker, size in (("train", "o", 9), ("held_out", "s", 16)):
            places = curves[f"{part}_positions"]
            drawn = axes.scatter(
                places[:, 1], places[:, 0], c=curves[f"{part}_r"], marker=marker, s=size,
                vmin=low, vmax=high, cmap="viridis", linewidths=0,
            )  # fmt: skip
        uncounted = curves["held_out_positions"][~np.isfinite(curves["held_out_r"])]
        axes.scatter(uncounted[:, 1], uncounted[:, 0], marker="x", s=14, color="#D55E00", lw=0.8)
        axes.set_aspect("equal")
        axes.set_title(result.name)
        axes.set_xlabel("column, px")
    row[0].invert_yaxis()
    row[0].set_ylabel("row, px")
    figure.colorbar(drawn, ax=list(row), label="R factor of the frame", shrink=0.9)
    return figure


def held_out_frames(found: Measurement) -> Figure:
    """Return held-out frames as observed and as predicted, log scale."""
    shown = found.shown()[:_MOST_COLUMNS]
    observed = found.rpie.curves["observed"]
    columns: list[tuple[str, NDArray[Any]]] = [("observed", observed)]
    for result in shown:
        columns.append((f"{result.name}:\nobject", result.curves["predicted"]))
        if "predicted_patch" in result.curves:
            columns.append((f"{result.name}:\nown patch", result.curves["predicted_patch"]))
    figure = new_figure(1.75 * len(columns) + 0.9, 1.8 * len(observed) + 0.5)
    grid = figure.subplots(len(observed), len(columns), squeeze=False)
    high = float(observed.max())
    low = max(high / 300, 1e-6)
    scale = LogNorm(low, high)
    for number, row in enumerate(grid):
        for axes, (title, frames) in zip(row, columns, strict=True):
            # What is darker than the scale is its darkest, not a hole.
            drawn = axes.imshow(np.maximum(frames[number], low), cmap="magma", norm=scale)
            _bare(axes)
            if number == 0:
                axes.set_title(title, fontsize=8)
    figure.colorbar(drawn, ax=grid.ravel().tolist(), label="amplitude", shrink=0.8)
    return figure


def learning_curves(found: Measurement) -> Figure:
    """Return losses of the networks by epoch, and rPIE's R factor by iteration."""
    figure = new_figure(8.6, 3.4)
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(label for label, _ in found.histories))
    colours = arm_colours(["rPIE", *names])
    for (label, seed), history in found.histories.items():
        loss = next(c for c in map(str, history) if c.endswith("_train_loss")).removesuffix(
            "_train_loss"
        )
        for kind, line in (("train", ":"), ("val", "-")):
            first = kind == "val" and seed == min(n for name, n in found.histories if name == label)
            left.plot(history["epoch"], history[f"{loss}_{kind}_loss"], line, lw=1.2,
                      color=colours[label], label=label if first else None)  # fmt: skip
    left.set_xlabel("epoch")
    left.set_ylabel("relative loss")
    left.set_title("networks: validation block solid, training dotted", loc="left", fontsize=9)
    left.legend()
    for (part, facts), line in zip(
        found.rpie.report["parts"].items(), ("-", "--", ":", "-."), strict=True
    ):
        errors = [np.nan if e is None else e for e in facts["error"]]
        right.plot(range(1, len(errors) + 1), errors, line, color="#000000", lw=1.2,
                   label=part.replace("_", " "))  # fmt: skip
    right.set_xlabel("iteration")
    right.set_ylabel("R factor of the part's own frames")
    right.set_title("rPIE", loc="left", fontsize=9)
    right.legend()
    for axes in (left, right):
        use_log_scale(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


FIGURES: dict[str, Callable[[Measurement], Figure]] = {
    "reconstructions": reconstructions,
    "ring_correlation": ring_correlation,
    "r_factor_map": r_factor_map,
    "held_out_frames": held_out_frames,
    "learning_curves": learning_curves,
}
"""File name -> what draws it; titles and captions are the report's."""
