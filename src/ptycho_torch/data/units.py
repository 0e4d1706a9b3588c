"""The units in which a scan's frames meet probe and network: the probe's one normalisation, the
scales in force, and that they reach the physics.

A network sees A = A_file / unit. The unit is such that the normalised probe and an object of mean
squared modulus 1 explain the mean photons of a frame: mean sum A^2 = sum |P|^2. s says how many
root photons such a unit amplitude is: (s A)^2 are photons.

Letters: M probe modes, H rows, W columns (H = W).
"""

import logging
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from ptycho_torch.config.base import Positive
from ptycho_torch.data.scan import Scan
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

Probe = NDArray[np.complexfloating]
# float32 amplitudes, summed over a scan; a lost override is off by percents, or by factors.
_REACHED = 1e-3


class ScaleLost(RuntimeError):
    """A scale that was requested did not reach the physics: a fault of ours, never a result."""


class Scales(BaseModel, frozen=True, strict=True, extra="ignore"):
    """The constants that a reconstruction was made with; None: not known, or there is none.

    input_scale: what amplitudes are multiplied by before the network; intensity_scale: s, (s A)^2
    are photons; intensity_scale_source: `learned`, `measured`, `given`, or in the words of
    another program; norm_Y_I: object amplitude = the patches' amplitude times this.
    """

    input_scale: Positive | None = None
    intensity_scale: Positive | None = None
    intensity_scale_source: str | None = None
    norm_Y_I: Positive | None = None


class Units(NamedTuple):
    """What the file's amplitudes are divided by, s, and where s comes from."""

    unit: float
    intensity_scale: float
    source: Literal["measured", "given"]


def measured_units(scan: Scan, probe_MHW: Probe, photons: float) -> Units:
    """Return the units of a scan under this normalised probe; photons on masked pixels count as
    none. photons: mean photons of a frame where the file does not say them, which then give s."""
    squares = np.square(scan.amplitude_nHW, dtype=np.float64)
    power = float(np.where(scan.used, squares, 0).sum(axis=(1, 2)).mean())
    unit = float(np.sqrt(power / (np.abs(probe_MHW) ** 2).sum()))
    if scan.intensity_scale is not None:
        return Units(unit, unit * scan.intensity_scale, "measured")
    scale = unit * (photons / power) ** 0.5
    logger.warning(
        "%s: does not say its photons; %g a frame, as given, make s = %.6g",
        scan.source, photons, scale,
    )  # fmt: skip
    return Units(unit, scale, "given")


def unit_of(scan: Scan, intensity_scale: float) -> float:
    """Return the unit in which s has a given value; `InputError` if the scan says no photons."""
    if scan.intensity_scale is None:
        raise InputError(
            f"{scan.source}: does not say its photons, so its frames cannot be brought to the "
            "bundle's units; use --scale measured, or give its s"
        )
    return intensity_scale / scan.intensity_scale


def radius_px(patch_px: int) -> NDArray[np.float64]:
    """Return the distance of each pixel from the array's centre, (H, W), pixels."""
    axis = np.arange(patch_px) - (patch_px - 1) / 2
    return np.hypot(axis[:, None], axis[None, :])


def normalisation(probe: Probe) -> float:
    """Return 4 * mean over all pixels of |mask * P|, mask = 1 within N // 4 of the centre.

    Incoherent modes count by the root of their summed intensity.
    """
    modulus = np.sqrt((np.abs(probe) ** 2).reshape(-1, *probe.shape[-2:]).sum(axis=0))
    mask = radius_px(len(modulus)) <= len(modulus) // 4
    return float(4 * (mask * modulus).mean())


def normalise(probe: Probe) -> NDArray[np.complex128]:
    """Return the probe over `normalisation`."""
    return np.asarray(probe / normalisation(probe), dtype=np.complex128)


def probe_of(scan: Scan) -> NDArray[np.complex64]:
    """Return a scan's normalised probe, (M, H, W); `InputError` if it has none, or a dark one."""
    if scan.probe_MHW is None:
        raise InputError(f"{scan.source}: has no probe; the physics needs one (probeGuess)")
    if not normalisation(scan.probe_MHW) > 0:
        raise InputError(
            f"{scan.source}: its probe is dark within a quarter of the frame round the centre; "
            "centre it"
        )
    return normalise(scan.probe_MHW).astype(np.complex64)


def check_scale_reached(name: str, requested: float, before: ArrayLike, after: ArrayLike) -> None:
    """Raise `ScaleLost` unless the data that the physics got, `after`, are those read, `before`,
    divided by `requested`; both are >= 0; `name` is for the message."""
    raw, used = (float(np.sum(np.asarray(data), dtype=np.float64)) for data in (before, after))
    expected = requested * used
    if not abs(raw - expected) <= _REACHED * expected:
        raise ScaleLost(
            f"{name} of {requested:.6g} was requested, the data went from {raw:.6g} to {used:.6g} "
            "in all: the override was lost on its way"
        )
