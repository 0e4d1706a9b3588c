"""A small scan whose patterns are known: fractional positions, asymmetric probe, no noise."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptycho_torch.measurements.scan import Scan
from ptycho_torch.physics.forward import intensities
from ptycho_torch.physics.views import cut_windows, moved_probes, split_positions

N = 16


def smooth(shape, width, seed):
    """A complex image without fine detail, drawn once and blurred by a Gaussian."""
    stream = np.random.default_rng(seed)
    rough = stream.normal(size=shape) + 1j * stream.normal(size=shape)
    f = [np.exp(-2 * (np.pi * width * np.fft.fftfreq(n)) ** 2) for n in shape]
    image = np.fft.ifft2(np.fft.fft2(rough) * f[0][:, None] * f[1][None])
    return image / np.abs(image).max()


def patterns(probe_MHW, object_YX, positions_n2):
    """Return the intensities of a scan, (n, H, W), in double precision."""
    whole, fraction = split_positions(torch.from_numpy(positions_n2))
    thing = torch.from_numpy(np.asarray(object_YX, np.complex128))
    probe = torch.from_numpy(np.asarray(probe_MHW, np.complex128))
    windows = cut_windows(thing, whole, probe.shape[-1])
    moved = moved_probes(probe, fraction)
    frames = [intensities(w[None, None], p)[0, 0] for w, p in zip(windows, moved, strict=True)]
    return torch.stack(frames).numpy()


def a_probe(side=N, modes=1):
    """An asymmetric spot, dark at its borders, with a curved phase."""
    y, x = np.mgrid[:side, :side] / side - 0.45
    spot = np.exp(-((y - 0.03) ** 2 + 1.6 * x**2 + 0.7 * y * x) / 0.013)
    probe = spot * (1 + 0.6 * x / 0.2) * np.exp(12j * (y**2 + 0.6 * x**2))
    return np.stack([probe / (1 + m) * np.exp(2j * np.pi * m * x * 4) for m in range(modes)])


def a_scan(*, modes=1, side=N, size=(40, 44), step=3.3, counts=None, seed=0):
    """Return a scan of a known object at fractional positions; counts: Poisson with this many."""
    stream = np.random.default_rng(seed)
    rows = np.arange(0, size[0] - side - 0.7, step)
    columns = np.arange(0, size[1] - side - 0.7, step)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    positions = grid + stream.uniform(0, 0.7, grid.shape)
    thing = (1 + 0.8 * smooth(size, 1.2, seed + 1)).astype(np.complex64)
    probe = a_probe(side, modes).astype(np.complex64)
    frames = patterns(probe, thing, positions)
    scale = None
    if counts is not None:
        scale = float(np.sqrt(counts / frames.sum(axis=(1, 2)).mean()))
        frames = stream.poisson(frames * scale**2) / scale**2
    return Scan(
        source="made",
        amplitude_nHW=np.sqrt(frames).astype(np.float32),
        positions_n2=positions,
        probe_MHW=probe,
        object_YX=thing,
        intensity_scale=scale,
    )


@pytest.fixture
def scan():
    return a_scan()


@pytest.fixture
def canonical(scan):
    """Arrays of the scan in the canonical NPZ of the field."""
    rows, columns = scan.positions_n2.T
    return {
        "diffraction": scan.amplitude_nHW,
        "xcoords": columns + N // 2,
        "ycoords": rows + N // 2,
        "probeGuess": scan.probe_MHW[0],
        "objectGuess": scan.object_YX,
        "scan_index": np.zeros(len(scan), int),
    }


@pytest.fixture(scope="session")
def made():
    """What tests build scans of their own with."""
    return SimpleNamespace(a_scan=a_scan, a_probe=a_probe, patterns=patterns, smooth=smooth)
