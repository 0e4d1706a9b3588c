"""The picture of a reconstruction: amplitude, phase, probe, and the error by iteration."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from ptycho_torch.physics.predict import illuminated
from ptycho_torch.reconstruct.engine import Reconstruction
from ptycho_torch.runtime.errors import printable


def draw(made: Reconstruction, path: Path, *, title: str) -> None:
    """Draw a reconstruction as PNG; what no light reached is left white."""
    figure = Figure(figsize=(9.6, 7.4), dpi=110, layout="constrained")
    # A file's name is text, whatever it holds: `$` starts no formula.
    figure.suptitle(printable(title), fontsize=10, parse_math=False)
    (amplitude, phase), (probe, error) = figure.subplots(2, 2)
    known = illuminated(made.light_YX)
    part = find_objects(known.astype(int))[0]
    row, column = made.origin
    extent = (
        *(column + part[1].start - 0.5, column + part[1].stop - 0.5),
        *(row + part[0].stop - 0.5, row + part[0].start - 0.5),
    )
    thing = np.where(known, made.object_YX, np.nan)[part]
    # Less the mean phase, which no pattern fixes.
    turned = thing * np.exp(-1j * np.angle(np.nansum(thing)))
    _image(amplitude, np.abs(turned), "object, amplitude", cmap="gray", extent=extent)
    _image(phase, np.angle(turned), "object, phase, rad", cmap="gray", extent=extent)
    power = np.sqrt((np.abs(made.probe_MHW) ** 2).sum(axis=0))
    _image(probe, power, "probe, amplitude of all modes", cmap="magma")
    error.plot(range(1, len(made.error) + 1), made.error, color="#0072B2")
    error.set_yscale("log")
    error.set_xlabel("iteration")
    error.set_title("R factor of the amplitudes", fontsize=9, loc="left")
    error.grid(color="#eeeeee")
    FigureCanvasAgg(figure).print_png(str(path))


def _image(axes: Axes, image_YX: NDArray[Any], title: str, **style: Any) -> None:
    low, high = np.nanpercentile(image_YX, (0.5, 99.5))
    shown = axes.imshow(image_YX, vmin=low, vmax=high, interpolation="nearest", **style)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("column, px", fontsize=8)
    axes.set_ylabel("row, px", fontsize=8)
    axes.figure.colorbar(shown, ax=axes, shrink=0.85).ax.tick_params(labelsize=7)
