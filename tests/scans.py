"""Small scans whose patterns are known: fractional positions, asymmetric probe, known noise."""

import h5py
import numpy as np
import torch

from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.forward import intensities
from ptycho_torch.physics.views import cut_windows, moved_probes, split_positions

N = 16
WAVELENGTH_M, DISTANCE_M, DETECTOR_PIXEL_M = 1.24e-10, 2.0, 75e-6


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
    """A blurred triangle, dark at its borders, with a curved phase: unlike its own twin."""
    y, x = np.mgrid[:side, :side] / side - 0.5 + 0.5 / side
    edges = [(0.0, 1.0), (0.87, -0.5), (-0.87, -0.5)]
    spot = np.prod([1 / (1 + np.exp(60 * (u * x + v * y - 0.11))) for u, v in edges], axis=0)
    probe = spot * np.exp(14j * (y**2 + 0.6 * x**2 + 0.5 * x * y))
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


def object_pixel_m(side=N):
    return WAVELENGTH_M * DISTANCE_M / (side * DETECTOR_PIXEL_M)


def write_cxi(path, scan):
    """Write a scan with probe and object as CXI 1.6, as other programs do."""
    side = scan.patch_px
    places = np.zeros((len(scan), 3))
    places[:, 1::-1] = scan.positions_n2 - (np.array(scan.object_YX.shape) - side) / 2
    detector, source = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
    edge = DETECTOR_PIXEL_M
    with h5py.File(path, "w") as file:
        for name, value in {
            "cxi_version": 160,
            f"{source}/wavelength": WAVELENGTH_M,
            f"{source}/energy": 1.98644586e-25 / WAVELENGTH_M,
            f"{detector}/distance": DISTANCE_M,
            f"{detector}/x_pixel_size": edge,
            f"{detector}/y_pixel_size": edge,
            f"{detector}/basis_vectors": np.array([[0, -edge, 0], [-edge, 0, 0]]),
            f"{detector}/data": np.square(scan.amplitude_nHW),
            f"{detector}/mask": np.zeros((side, side), "u4"),
            "entry_1/sample_1/geometry_1/translation": places * object_pixel_m(side),
            "entry_1/image_1/data": scan.probe_MHW,
            "entry_1/image_2/data": scan.object_YX,
        }.items():
            file[name] = value
        file[f"{source}/illumination"] = h5py.SoftLink("/entry_1/image_1/data")
