"""What an engine works on: checked frames, and where their windows lie on the object's canvas.

Letters: n frames, M probe modes, H rows, W columns of a window, Y rows, X columns of the canvas.
Positions are the (row, column) of a window's upper left corner, pixels, fractional, of any sign.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Array, Scan
from ptycho_torch.physics.views import split_positions
from ptycho_torch.runtime.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The frames, and the canvas that holds all their windows.

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


def pose(scan: Scan, settings: RpieSettings, *, margin_px: int = 0) -> Problem:
    """Return the problem of a scan, on a canvas with a free border of `margin_px` round the
    windows; parameters and errors are `reconstruct`'s."""
    if scan.probe_MHW is None:
        raise InputError(
            f"{scan.source}: has no probe, and rPIE needs one to start from; add 'probeGuess' to "
            "the file"
        )
    observed: Array = scan.amplitude_nHW
    if observed.dtype != np.float64:
        observed = observed.astype(np.float32)
    good = scan.good_1HW
    if good is not None:
        observed = np.where(good, observed, observed.dtype.type(0))
    if not observed.any():
        raise InputError("the frames are dark in all good pixels; nothing can be reconstructed")
    whole, fraction = split_positions(torch.from_numpy(np.asarray(scan.positions_n2, np.float64)))
    first = whole.amin(dim=0) - margin_px
    size = whole.amax(dim=0) + observed.shape[-1] + margin_px - first
    (row, column), (rows, columns) = first.tolist(), size.tolist()
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
        whole_n2=whole - first,
        fraction_n2=fraction,
    )
