"""How far a reconstruction is from the truth, less what no pattern fixes."""

import numpy as np
from scipy.ndimage import fourier_shift
from scipy.optimize import minimize

SCANS = {"whole": 0.0, "fractional": 1.0}
"""Jitter of the scans that pty-chi reconstructed too, for ptychi.npz."""
DETAILED = {"side": 24, "step": 3, "frames": (7, 7), "real": "f8"}


def truth_on(origin, shape, scan):
    """The true object on a canvas."""
    (row, column), (rows, columns) = origin, shape
    return scan.object_YX[row : row + rows, column : column + columns]


def apart(found, scan, light):
    """Relative distance of an object from a scan's after one complex factor, where at least a tenth
    of the most light fell; `found` and `light` are arrays with the position of their first pixel."""
    rows, columns = np.nonzero(light[0] > 0.1 * light[0].max())
    rows, columns = rows + light[1][0], columns + light[1][1]
    true = scan.object_YX[rows, columns]
    found = found[0][rows - found[1][0], columns - found[1][1]]
    factor = np.vdot(found, true) / np.vdot(found, found)
    return float(np.linalg.norm(factor * found - true) / np.linalg.norm(true))


def distance(probe, truth):
    """Relative distance less what no pattern fixes: a complex factor, a common shift of probe and
    object, and a phase ramp that the object takes back."""
    axis = np.arange(len(probe)) - (len(probe) - 1) / 2

    def left(free):
        moved = np.fft.ifft2(fourier_shift(np.fft.fft2(probe), free[:2]))
        moved *= np.exp(1j * (free[2] * axis[:, None] + free[3] * axis))
        factor = np.vdot(moved, truth) / np.vdot(moved, moved)
        return np.linalg.norm(factor * moved - truth) / np.linalg.norm(truth)

    return minimize(left, np.zeros(4), method="Nelder-Mead").fun
