"""A small noise-free scan with a known probe, made by the project's own forward model."""

from types import SimpleNamespace

import numpy as np
from scipy.ndimage import fourier_shift, gaussian_filter
from scipy.optimize import minimize
from tests.scans import patterns

from ptycho_torch.config.dataset import TriangleProbe
from ptycho_torch.data.scan import Scan
from ptycho_torch.simulate.dataset import make_probe


def rough_object(size):
    """Full of detail, so that it also fixes a probe; the study's own lines are smooth."""
    noise = gaussian_filter(np.random.default_rng(7).normal(size=(2, size, size)), (0, 1.5, 1.5))
    bright, turn = noise / noise.std()
    return (0.7 + 0.3 * np.tanh(bright)) * np.exp(0.8j * np.tanh(turn))


def make_scan(*, side=32, step=4.0, frames=9, jitter=0.0, modes=1, corner=(0, 0)):
    """Frames in double precision; `corner`: where the object's pixel [0, 0] is said to lie."""
    size = int(side + step * (frames - 1) + 2)
    thing = rough_object(size)
    probe = make_probe(TriangleProbe(shape="triangle"), side)[None]
    if modes == 2:
        second = np.roll(probe, 3, axis=-1) * np.linspace(-0.6, 0.6, side)[:, None]
        probe = np.concatenate([probe, second])
    places = 1 + step * np.arange(frames)
    inner = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    inner = inner + jitter * np.random.default_rng(0).uniform(-0.5, 0.5, inner.shape)
    amplitude = np.sqrt(patterns(probe, thing, inner))
    return SimpleNamespace(
        amplitude=amplitude, positions=inner + corner, probe=probe, object=thing, corner=corner
    )


def as_scan(made, *, real="f4", **changes):
    """Return it as a scan, in single precision, or with changes."""
    parts = {
        "source": "mine.npz",
        "amplitude_nHW": made.amplitude,
        "positions_n2": made.positions,
        "probe_MHW": made.probe,
    } | changes
    return Scan(**{**parts, "amplitude_nHW": parts["amplitude_nHW"].astype(real)})


def truth_on(origin, shape, scan):
    """The true object on a canvas."""
    (row, column), (rows, columns) = np.subtract(origin, scan.corner), shape
    return scan.object[row : row + rows, column : column + columns]


def complex_error(result, scan):
    """Relative error of a reconstruction after one complex factor."""
    found, light = (result.object_YX, result.origin), (result.light_YX, result.origin)
    return apart(found, (scan.object, scan.corner), light)


def apart(found, true, light):
    """Relative distance after one complex factor, where at least a tenth of the most light fell;
    each of the three is an array with the position of its first pixel."""
    rows, columns = np.nonzero(light[0] > 0.1 * light[0].max())
    rows, columns = rows + light[1][0], columns + light[1][1]
    found, true = (image[rows - origin[0], columns - origin[1]] for image, origin in (found, true))
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


SCANS = {
    "whole": {"side": 24, "step": 3, "frames": 7},
    "fractional": {"side": 24, "step": 3, "frames": 7, "jitter": 1.0},
}
"""Scans that pty-chi reconstructed too, for ptychi.npz."""
