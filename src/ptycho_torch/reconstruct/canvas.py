"""The canvas that a scan's windows lie on.

Letters: n frames, M probe modes, H rows, W columns of a window, Y rows, X columns of the canvas.
Positions are the (row, column) of a window's upper left corner, pixels, fractional, of any sign;
the canvas' pixel [0, 0] lies at its `origin`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.physics.views import split_positions
from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where the windows of a scan lie on their canvas.

    origin: object coordinates, px, of the pixel [0, 0]; shape: of the canvas; whole_n2, on the
    canvas, and fraction_n2: each position, split.
    """

    origin: tuple[int, int]
    shape: tuple[int, int]
    whole_n2: Tensor
    fraction_n2: Tensor

    @property
    def fractional(self) -> bool:
        """Whether any position lies off the pixel grid."""
        return bool((self.fraction_n2 != 0).any())

    def only(self, frames: Array) -> "Canvas":
        """Return the same canvas with some of its windows."""
        return replace(self, whole_n2=self.whole_n2[frames], fraction_n2=self.fraction_n2[frames])

    def illumination(self, probe_MHW: Tensor) -> Tensor:
        """Return the probe's intensity summed over the windows, (Y, X)."""
        light = torch.zeros(self.shape, dtype=probe_MHW.real.dtype)
        intensity = probe_MHW.abs().square().sum(dim=0)
        height, width = intensity.shape
        for row, column in self.whole_n2.tolist():
            light[row : row + height, column : column + width] += intensity
        return light


def make_canvas(
    positions_n2: Array,
    side_px: int,
    *,
    margin_px: int = 0,
    given: tuple[tuple[int, int], tuple[int, int]] | None = None,
) -> Canvas:
    """Return the smallest canvas that holds all windows and a margin, or the given one.

    Parameters
    ----------
    given
        Origin and shape of an object that is there already.

    Raises
    ------
    InputError
        If a window reaches out of the given canvas, or the canvas is larger than any object.
    """
    positions = np.asarray(positions_n2, np.float64)
    whole, fraction = split_positions(torch.from_numpy(positions))
    low, high = whole.amin(dim=0), whole.amax(dim=0) + side_px
    first, size = low - margin_px, high - low + 2 * margin_px
    if given is not None:
        first, size = torch.tensor(given[0]), torch.tensor(given[1])
        if (low < first).any() or (high > first + size).any():
            raise InputError(
                f"windows reach from {tuple(low.tolist())} to {tuple(high.tolist())} px, out of "
                f"an object of {tuple(size.tolist())} px whose corner is {tuple(first.tolist())}"
            )
    (row, column), (rows, columns) = first.tolist(), size.tolist()
    if rows * columns > 2**31:
        raise InputError(
            f"the positions span {rows} x {columns} px, more than any object; are they in pixels?"
        )
    return Canvas((row, column), (rows, columns), whole - first, fraction)
