"""A small noise-free scan with a known probe, made by the project's own forward model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ptycho_torch.config.dataset import TriangleProbe
from ptycho_torch.physics.forward import intensities
from ptycho_torch.physics.views import cut_windows, moved_probes, split_positions
from ptycho_torch.simulate.probes import make_probe


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
    whole, fraction = split_positions(torch.from_numpy(inner))
    windows = cut_windows(torch.from_numpy(thing), whole, side)
    probes = moved_probes(torch.from_numpy(probe), fraction)
    amplitude = torch.cat(
        [intensities(w[None, None], p).sqrt()[0] for w, p in zip(windows, probes, strict=True)]
    ).numpy()
    return SimpleNamespace(
        amplitude=amplitude, positions=inner + corner, probe=probe, object=thing, corner=corner
    )


@pytest.fixture(scope="session")
def scan():
    return make_scan()


@pytest.fixture(scope="session")
def fractional():
    return make_scan(side=24, step=3.0, jitter=1.0, frames=6)


def truth_on(result, scan):
    """The true object on the canvas of a result."""
    row, column = np.subtract(result.origin, scan.corner)
    rows, columns = result.object_YX.shape
    return scan.object[row : row + rows, column : column + columns]


def complex_error(result, scan, lit=0.1):
    """Relative error after one complex factor, where at least `lit` of the most light fell."""
    where = result.light_YX > lit * result.light_YX.max()
    found, true = result.object_YX[where], truth_on(result, scan)[where]
    factor = np.vdot(found, true) / np.vdot(found, found)
    return float(np.linalg.norm(factor * found - true) / np.linalg.norm(true))
