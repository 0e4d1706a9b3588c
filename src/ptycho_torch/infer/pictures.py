"""Pictures of stitched objects: amplitude above, phase below, one column each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_torch.runtime.disk import PathLike, atomic_write
from ptycho_torch.runtime.plot_style import COLOURS, PALE, REFERENCE, new_figure


def draw_objects(
    images: Mapping[str, NDArray[Any]],
    *,
    parts: Sequence[str] = ("amplitude", "phase"),
    difference: bool = False,
    caption: str = "Red: not seen.",
) -> Figure:
    """Return a figure of complex objects by title, (Y, X) each, on the scales of the first; NaN,
    where nothing was seen, is red. Rows are `parts`; with `difference`, a last column shows the
    second less the first."""
    arrays = list(images.values())
    columns = len(images) + difference
    figure = new_figure(3.8 * columns, 3.4 * len(parts) + 0.6)
    grid = figure.subplots(len(parts), columns, squeeze=False)
    # No data fix the global phase.
    turn = np.exp(-1j * np.angle(np.nansum(arrays[0])))
    for line, part in zip(grid, parts, strict=True):
        convert = np.abs if part == "amplitude" else lambda image: np.angle(image * turn)
        shown = convert(arrays[0])
        known = shown[np.isfinite(shown)]
        low, high = np.percentile(known, (0.5, 99.5)).tolist() if known.size else (0.0, 0.0)
        if high <= low:
            low, high = low - 0.5, low + 0.5
        colours = "gray"
        if part == "phase" and high - low > np.pi:
            (low, high), colours = (-np.pi, np.pi), "twilight_shifted"
        for axes, (title, image) in zip(line, images.items(), strict=False):
            _show(axes, convert(image), f"{title}: {part}", colours, (low, high))
        if difference:
            first, second = arrays
            rest = np.abs(second) - np.abs(first)
            if part == "phase":
                rest = np.angle(second * np.conj(first))
            limit = float(np.nanmax(np.abs(rest), initial=0.0)) or 1.0
            _show(line[-1], rest, f"B - A: {part}", "RdBu_r", (-limit, limit))
    figure.supxlabel(caption, fontsize=8)
    return figure


def draw_rings(
    cycles_per_px: Sequence[float], correlation: Sequence[float], half_bit: Sequence[float]
) -> Figure:
    """Return a figure of a Fourier ring correlation and its thresholds."""
    figure = new_figure(5.0, 3.4)
    axes = figure.add_subplot(
        xlabel="spatial frequency, cycles per pixel", ylabel="Fourier ring correlation"
    )
    axes.plot(cycles_per_px, correlation, color=COLOURS[1], label="A and B")
    axes.plot(cycles_per_px, half_bit, color=REFERENCE, linestyle="--", label="half bit")
    for level, name in ((1 / 2, "1/2"), (1 / 7, "1/7")):
        axes.axhline(level, color=PALE, linewidth=0.8)
        axes.annotate(name, (1.0, level), xycoords=("axes fraction", "data"), va="center")
    axes.set(xlim=(0, 0.5), ylim=(min(0.0, *correlation), 1.05))
    axes.legend(frameon=False)
    return figure


def save_png(path: PathLike, figure: Figure) -> None:
    """Write a figure as PNG, whole."""
    with atomic_write(path) as part:
        figure.savefig(part, format="png")


def _show(
    axes: Axes, image: NDArray[Any], title: str, colours: str, span: tuple[float, float]
) -> None:
    colour_map = colormaps[colours].with_extremes(bad="red")
    drawn = axes.imshow(image, cmap=colour_map, vmin=span[0], vmax=span[1])
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])
    label = "rad" if "phase" in title else ""
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8, label=label)
