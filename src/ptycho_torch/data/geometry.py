"""From the geometry of a far-field experiment to the pixels of the object plane, and back.

With wavelength L, distance z and N detector pixels of size d, a pixel of the object plane is
L z / (N d) and a frame sees a window of L z / d there.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import constants

from ptycho_torch.runtime.errors import InputError

PLANCK_TIMES_C = constants.h * constants.c
"""In J m."""
EV = constants.eV
_METRE = {"": 1.0, "centi": 1e-2, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12}
LENGTHS = {
    **{"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "\u00b5m": 1e-6, "nm": 1e-9, "pm": 1e-12},
    **{prefix + word: value for prefix, value in _METRE.items() for word in ("metre", "meter")},
    **{"micron": 1e-6, **dict.fromkeys(("angstrom", "angstroem", "ang", "a", "\u00e5"), 1e-10)},
}
"""What a file may call a length's unit, in metres; in lower case, one of it."""
ENERGIES = {"j": 1.0, "joule": 1.0, "ev": EV, "electronvolt": EV, "kev": 1e3 * EV}
"""The same of an energy, in joules."""
UNITS_M = {"metres": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}
"""What positions can be in, metres."""
SPARSE = 4
"""Steps in windows, beyond which frames have nothing in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Wavelength, distance, and (height, width) of a detector pixel, all in metres."""

    wavelength_m: float
    distance_m: float
    pixel_m: tuple[float, float]

    def object_pixel_m(self, side_px: int) -> tuple[float, float]:
        """Return (height, width) of a pixel of the object plane."""
        reach = self.wavelength_m * self.distance_m / side_px
        return reach / self.pixel_m[0], reach / self.pixel_m[1]


MADE_UP = Geometry(wavelength_m=1.24e-10, distance_m=2.0, pixel_m=(75e-6, 75e-6))
"""For files that must have a geometry and data that has none: 10 keV, 2 m, 75 um; always marked."""


def given_geometry(
    wavelength_m: float | None, distance_m: float | None, pixel_m: float | None
) -> Geometry | None:
    """Return a geometry of square pixels if all three are given, None if none is; `InputError` if
    some are."""
    names = ("--wavelength-m", "--distance-m", "--detector-pixel-m")
    given = (wavelength_m, distance_m, pixel_m)
    if wavelength_m and distance_m and pixel_m:
        size = (pixel_m, pixel_m)
        return Geometry(wavelength_m=wavelength_m, distance_m=distance_m, pixel_m=size)
    if given == (None, None, None):
        return None
    raise InputError(
        f"{names[given.index(None)]} is None; a geometry needs {', '.join(names)}, all > 0"
    )


def median_step(positions_n2: NDArray[np.float64]) -> float:
    """Return the median distance of a place to the nearest other one, in the positions' unit; NaN
    where there is one place alone."""
    places = np.unique(positions_n2[np.isfinite(positions_n2).all(axis=1)], axis=0)
    if len(places) < 2:
        return np.nan
    return float(np.median(scipy.spatial.KDTree(places).query(places, k=2)[0][:, 1]))


def fitting_unit(
    positions_n2: NDArray[np.float64], pixel_m: tuple[float, float], side_px: int
) -> str | None:
    """Return the first of `UNITS_M` in which the median step is half a pixel of the object plane to
    a window; None: there is none."""
    step = median_step(positions_n2)
    steps_px = {unit: step * metres / max(pixel_m) for unit, metres in UNITS_M.items()}
    return next((unit for unit, step_px in steps_px.items() if 0.5 <= step_px <= side_px), None)


def check_pixels(
    source: str, positions_n2: NDArray[np.float64], pixel_m: tuple[float, float], side_px: int
) -> None:
    """Raise `InputError` if positions that are guessed to be in pixels fit another unit."""
    if unit := fitting_unit(positions_n2, pixel_m, side_px):
        raise InputError(
            f"{source}: the translations have no unit, and span too much for metres; its geometry "
            f"fits --units {unit}; give that, or --units pixels"
        )


def check_far_field(
    source: str, geometry: Geometry, side_px: int, positions_m: NDArray[np.float64] | None = None
) -> None:
    """Raise `InputError` for a geometry whose frames are no far field.

    Two things give it away: a detector wider than its distance, where the paraxial far field ends;
    and a scan whose steps (`positions_m`, (n, 2), if known in metres) are more than `SPARSE` times
    what a frame would see: frames that overlap in the near field would be far apart.
    """
    window = min(geometry.object_pixel_m(1))
    start = (
        f"{source}: near-field geometry (distance {geometry.distance_m:.6g} m, wavelength "
        f"{geometry.wavelength_m:.6g} m, detector {side_px} x {max(geometry.pixel_m):.6g} m)"
    )
    if not geometry.distance_m > side_px * max(geometry.pixel_m):
        raise InputError(
            f"{start}: the detector is wider than its distance, so its frames are no far field, "
            "which is all that is computed here; if the distance is wrong, mend it in the file"
        )
    if positions_m is None:
        return
    if (step_m := median_step(positions_m)) > SPARSE * window:
        fresnel = step_m**2 / (geometry.wavelength_m * geometry.distance_m)
        raise InputError(
            f"{start}: as a far field, a frame sees {window:.4g} m of the object, but the scan's "
            f"steps are {step_m:.4g} m (Fresnel number {fresnel:.3g}), so frames would be far "
            "apart; near fields are not computed here; are the positions in another unit (--units)?"
        )
