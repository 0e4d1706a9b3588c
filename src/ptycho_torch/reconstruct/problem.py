"""What an engine works on: checked frames, and where their windows lie on the object's canvas.

Letters: n frames, M probe modes, H rows, W columns of a window, Y rows, X columns of the canvas.
Positions are the (row, column) of a window's upper left corner, pixels, fractional, of any sign.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Array, Scan, mask_of
from ptycho_torch.physics.views import split_positions
from ptycho_torch.runtime.errors import InputError

_LARGEST_CANVAS_PX = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The frames in use, and the canvas that holds all windows of the scan.

    observed_nHW: amplitudes, 0 where masked; good_nHW: also (1, H, W), None where all is measured;
    probe_MHW: at the scale requested; start_YX: the object to start from; origin: position of its
    pixel [0, 0]; whole_n2, on the canvas, and fraction_n2: each position, split.
    """

    observed_nHW: Array
    good_nHW: Array | None
    probe_MHW: Array
    start_YX: Array
    origin: tuple[int, int]
    whole_n2: Tensor
    fraction_n2: Tensor

    def illumination(self, probe_MHW: Array) -> Array:
        """Return a probe's intensity summed over the frames' windows, (Y, X)."""
        intensity = torch.from_numpy(probe_MHW).abs().square().sum(dim=0)
        light = torch.zeros(self.start_YX.shape, dtype=intensity.dtype)
        height, width = intensity.shape
        for row, column in self.whole_n2.tolist():
            light[row : row + height, column : column + width] += intensity
        return light.numpy()


def pose(
    scan: Scan, settings: RpieSettings, use_n: Array | None = None, *, margin_px: int = 0
) -> Problem:
    """Return the problem of some frames of a scan, on a canvas with a free border of `margin_px`
    round the windows; parameters and errors are `reconstruct`'s."""
    if scan.probe_MHW is None:
        raise InputError(
            f"{scan.source}: has no probe, and rPIE needs one to start from; add 'probeGuess' to "
            "the file"
        )
    use = np.arange(len(scan)) if use_n is None else np.flatnonzero(use_n)
    observed: Array = scan.amplitude_nHW[use]
    if observed.dtype != np.float64:
        observed = observed.astype(np.float32)
    good = mask_of(scan.good_1HW, use)
    if good is not None:
        observed = np.where(good, observed, observed.dtype.type(0))
    if not observed.any():
        raise InputError("the frames are dark in all good pixels; nothing can be reconstructed")
    whole, fraction = split_positions(torch.from_numpy(np.asarray(scan.positions_n2, np.float64)))
    first = whole.amin(dim=0) - margin_px
    size = whole.amax(dim=0) + observed.shape[-1] + margin_px - first
    (row, column), (rows, columns) = first.tolist(), size.tolist()
    if rows * columns > _LARGEST_CANVAS_PX:
        raise InputError(
            f"the positions span {rows} x {columns} px, more than any object; are they in pixels?"
        )
    probe: Array = scan.probe_MHW
    if settings.probe_scale == "frames":
        power = float(np.square(np.abs(probe), dtype=np.float64).sum())
        mean = float(np.square(observed, dtype=np.float64).sum()) / len(observed)
        probe = probe * np.sqrt(mean / power)
    return Problem(
        observed_nHW=observed,
        good_nHW=None if good is None or good.all() else good,
        probe_MHW=probe,
        start_YX=np.ones((rows, columns)),
        origin=(row, column),
        whole_n2=(whole - first)[use],
        fraction_n2=fraction[use],
    )
