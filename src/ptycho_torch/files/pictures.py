"""Pictures of objects, patches and ring correlations; what is not known is red everywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.util import montage

from ptycho_torch.runtime.disk import PathLike, atomic_write
from ptycho_torch.runtime.plot_style import COLOURS, PALE, REFERENCE, new_figure

# A patch varies by less than rounding leaves on a constant: there is nothing to normalise by.
_FLAT = 1e-5


def draw_objects(
    images: Mapping[str, NDArray[Any]],
    *,
    alike: bool = True,
    difference: bool = False,
) -> Figure:
    """Return a figure of amplitude and phase of complex objects by title, (Y, X) each; NaN, where
    nothing was seen, is red. `alike`: all on the scales of the first; with `difference`, a last
    column shows the second less the first."""

    def phase(image: NDArray[Any]) -> NDArray[Any]:
        # No data fix the global phase.
        return np.asarray(np.angle(image * np.exp(-1j * np.angle(np.nansum(image)))))

    arrays = list(images.values())
    columns = len(images) + difference
    figure = new_figure(3.8 * columns, 7.4)
    grid = figure.subplots(2, columns, squeeze=False)
    for line, part in zip(grid, ("amplitude", "phase"), strict=True):
        shown = phase if part == "phase" else np.abs
        for axes, (title, image) in zip(line, images.items(), strict=False):
            span = _span(shown(arrays[0] if alike else image))
            _show(axes, shown(image), f"{title}: {part}", span)
        if difference:
            first, second = arrays
            rest = np.abs(second) - np.abs(first)
            if part == "phase":
                rest = np.angle(second * np.conj(first))
            limit = float(np.nanmax(np.abs(rest), initial=0.0)) or 1.0
            _show(line[-1], rest, f"B - A: {part}", (-limit, limit), "RdBu_r")
    figure.supxlabel("Phase in rad; red: not seen.", fontsize=8)
    return figure


def draw_patches(patches_PHW: NDArray[Any], *, total: int) -> Figure:
    """Return a figure of the amplitudes of patches, of `total`, in rows of four, each normalised by
    itself; what is not finite is red."""

    def normalised(amplitude_HW: NDArray[Any]) -> NDArray[Any]:
        finite = amplitude_HW[np.isfinite(amplitude_HW)]
        mean, deviation = (finite.mean(), finite.std()) if finite.size else (0.0, 0.0)
        return (amplitude_HW - mean) / (deviation if deviation > _FLAT * mean else np.inf)

    count, columns = len(patches_PHW), min(4, len(patches_PHW))
    amplitudes = [normalised(np.abs(patch)) for patch in patches_PHW]
    shape = (-(-count // columns), columns)
    figure = new_figure(5.5, 5.5)
    cells = montage(amplitudes, fill=0, padding_width=1, grid_shape=shape)
    _show(figure.subplots(), cells, f"{count} of {total} patches in rows", (-2.5, 2.5))
    figure.supxlabel("Amplitude less its mean, over its deviation; red: not finite.", fontsize=8)
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
    axes.axhline(1 / 2, color=PALE, label="1/2")
    axes.axhline(1 / 7, color=PALE, linestyle=":", label="1/7")
    axes.set(xlim=(0, 0.5), ylim=(min(0.0, *correlation), 1.05))
    axes.legend(frameon=False)
    return figure


def save_png(path: PathLike, figure: Figure) -> None:
    """Write a figure as PNG, whole."""
    with atomic_write(path) as part:
        figure.savefig(part, format="png")


def _span(image: NDArray[Any]) -> tuple[float, float]:
    known = image[np.isfinite(image)]
    low, high = np.percentile(known, (0.5, 99.5)).tolist() if known.size else (0.0, 0.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _show(axes: Axes, image: NDArray[Any], title: str, span: Any, colours: str = "gray") -> None:
    colour_map = colormaps[colours].with_extremes(bad="red")
    drawn = axes.imshow(image, cmap=colour_map, vmin=span[0], vmax=span[1])
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
