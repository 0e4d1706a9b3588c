"""The units in which a scan's frames meet probe and network.

A network sees A = A_file / unit. The unit is such that the normalised probe and an object of mean
squared modulus 1 explain the mean photons of a frame: mean sum A^2 = sum |P|^2. s says how many
root photons such a unit amplitude is: (s A)^2 are photons.

Letters: M probe modes, H rows, W columns.
"""

import logging
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.probe import normalisation, normalise
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

Probe = NDArray[np.complexfloating]
# Probes whose intensities and phases agree to this correlation are the same.
_SAME_PROBE = 0.999


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
    """Return the unit in which s has a given value: photons alone decide; `InputError` if the scan
    does not say them."""
    if scan.intensity_scale is None:
        raise InputError(
            f"{scan.source}: does not say its photons, so its frames cannot be brought to the "
            "bundle's units; use --scale measured, or give its s"
        )
    return intensity_scale / scan.intensity_scale


def probe_of(scan: Scan) -> NDArray[np.complex64]:
    """Return the scan's probe, normalised, (M, H, W); `InputError` if it has none, or one that is
    dark around its centre."""
    if scan.probe_MHW is None:
        raise InputError(f"{scan.source}: has no probe; the physics needs one (probeGuess)")
    if not normalisation(scan.probe_MHW) > 0:
        raise InputError(
            f"{scan.source}: its probe is dark within a quarter of the frame round the centre; "
            "centre it"
        )
    return normalise(scan.probe_MHW).astype(np.complex64)


def same_probe(first_MHW: Probe, second_MHW: Probe) -> bool:
    """Return whether two normalised probes are one, up to a phase."""
    if first_MHW.shape != second_MHW.shape:
        return False
    power = max(np.vdot(probe, probe).real for probe in (first_MHW, second_MHW))
    return bool(abs(np.vdot(first_MHW, second_MHW)) >= _SAME_PROBE * power)
