"""Units of lengths and energies, and the steps of a scan."""

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import constants

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
