"""Pictures of patches and stitched images; each says in its caption how its colours are scaled.

Letters: P patches, I images, Y rows, X columns of an image, H rows, W columns of a patch.
"""

import textwrap
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_torch.files.io import PathLike, atomic_write

_DPI = 110
# A patch varies by less than rounding leaves on a constant: there is nothing to normalise by.
_FLAT = 1e-5
# Cyclic, and bright around zero.
_PHASE = "twilight_shifted"


def draw_stitched(path: PathLike, stitched_IYX: NDArray[Any]) -> None:
    """Draw stitched images, amplitude above, phase below; what was not seen is red."""
    phases = np.iscomplexobj(stitched_IYX)
    images = len(stitched_IYX)
    figure = _figure(max(3.9 * images, 4.4) + 0.2, 3.2 * (1 + phases) + 1.0)
    grid = _panels(figure, 1 + phases, images)
    for image, column in zip(stitched_IYX, grid.T, strict=True):
        low, high = display_range(np.abs(image))
        show(column[0], np.abs(image), "gray", (low, high))
        column[0].set_title("amplitude", fontsize=9)
        if phases:
            show(column[1], np.angle(image), _PHASE, (-np.pi, np.pi))
            column[1].set_title("phase, radians", fontsize=9)
    _caption(figure, "Amplitude from its 0.5th to its 99.5th percentile; red: not seen.")
    _save(figure, path)


def draw_comparison(
    path: PathLike,
    pairs_IYX: tuple[NDArray[Any], NDArray[Any]],
    names: tuple[str, str],
    said: str,
) -> None:
    """Draw two aligned images side by side with their difference.

    Parameters
    ----------
    pairs_IYX
        A and B where both are known, NaN elsewhere; the first image is drawn.
    names
        Of A and B.
    said
        What was aligned, and what is not shown.
    """
    first, second = (images[0] for images in pairs_IYX)
    phases = np.iscomplexobj(first) and np.iscomplexobj(second)
    figure = _figure(11.5, 3.4 * (1 + phases) + 1.0)
    grid = _panels(figure, 1 + phases, 3)
    amplitudes = np.abs(first), np.abs(second)
    span = display_range(amplitudes[0])
    for axes, image, name in zip(grid[0], amplitudes, names, strict=False):
        show(axes, image, "gray", span)
        axes.set_title(f"{name}: amplitude", fontsize=9)
    difference = amplitudes[1] - amplitudes[0]
    largest = float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else 0.0
    show(grid[0, 2], difference, "RdBu_r", (-(largest or 1), largest or 1))
    grid[0, 2].set_title("B - A, amplitude", fontsize=9)
    if phases:
        turn = np.angle(np.nansum(first))
        for axes, image, name in zip(grid[1], (first, second), names, strict=False):
            show(axes, np.angle(image * np.exp(-1j * turn)), _PHASE, (-np.pi, np.pi))
            axes.set_title(f"{name}: phase", fontsize=9)
        rest = np.angle(second * np.conj(first))
        largest = float(np.nanmax(np.abs(rest))) if np.isfinite(rest).any() else 0.0
        show(grid[1, 2], rest, "RdBu_r", (-(largest or 1), largest or 1))
        grid[1, 2].set_title("B - A, phase, radians", fontsize=9)
    wrapped = "\n".join(textwrap.wrap(said, 150))
    _caption(
        figure,
        f"{wrapped}\nBoth amplitudes on A's 0.5th to 99.5th percentile, differences from minus to "
        "plus their largest value; red: not in both.",
    )
    _save(figure, path)


def display_range(amplitude: NDArray[Any]) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile of what is finite, apart from each other."""
    kept = amplitude[np.isfinite(amplitude)]
    if not kept.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(kept, (0.5, 99.5)))
    return (low, high) if high - low > _FLAT * abs(high) else (low - 0.5, low + 0.5)


def show(axes: Axes, image: NDArray[Any], colours: str, span: tuple[float, float]) -> None:
    """Draw an image with its colour bar; NaN is red."""
    drawn = axes.imshow(
        image, cmap=_colours(colours), vmin=span[0], vmax=span[1], interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03).ax.tick_params(labelsize=7)


def _colours(name: str) -> Colormap:
    return colormaps[name].with_extremes(bad="red")


def _figure(width_in: float, height_in: float) -> Figure:
    figure = Figure(figsize=(width_in, height_in), dpi=_DPI)
    return figure


def _panels(figure: Figure, rows: int, columns: int) -> NDArray[Any]:
    """Return panels above room for a caption; a layout engine would take a second to find it."""
    width, height = figure.get_size_inches()
    grid: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.15 / width, right=1 - 0.55 / width, bottom=0.8 / height, top=1 - 0.3 / height,
        wspace=0.3, hspace=0.12,
    )  # fmt: skip
    return grid


def _caption(figure: Figure, said: str) -> None:
    figure.text(0.5, 0.1 / figure.get_size_inches()[1], said, fontsize=8, ha="center", va="bottom")


def _save(figure: Figure, path: PathLike) -> None:
    # Not `savefig`: it draws everything twice.
    with atomic_write(path) as part:
        FigureCanvasAgg(figure).print_png(str(part), metadata={"Software": None})
