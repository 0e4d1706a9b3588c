"""Scans whose patterns are known: fractional positions, a probe unlike its twin, known noise; files
of them, as other programs write them; bundles of networks that were never trained; and how far a
reconstruction is from the truth."""

import math

import h5py
import numpy as np
import torch
from scipy.ndimage import fourier_shift, gaussian_filter
from scipy.optimize import minimize

from ptycho_torch.config.dataset import TriangleProbe
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.data.scan import Scan
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import Bundle, BundleSettings
from ptycho_torch.physics.forward import intensities
from ptycho_torch.physics.views import cut_windows, moved_probes, split_positions
from ptycho_torch.simulate.dataset import make_probe

N = 16
WAVELENGTH_M, DISTANCE_M, DETECTOR_PIXEL_M = 1.24e-10, 2.0, 75e-6


def patterns(probe_MHW, object_YX, positions_n2):
    """Return the intensities of a scan, (n, H, W), in double precision."""
    whole, fraction = split_positions(torch.from_numpy(positions_n2))
    thing = torch.from_numpy(np.asarray(object_YX, np.complex128))
    probe = torch.from_numpy(np.asarray(probe_MHW, np.complex128))
    windows = cut_windows(thing, whole, probe.shape[-1])
    moved = moved_probes(probe, fraction)
    frames = [intensities(w[None, None], p)[0, 0] for w, p in zip(windows, moved, strict=True)]
    return torch.stack(frames).numpy()


def rough_object(shape):
    """Full of detail, so that it also fixes a probe; the study's own lines are smooth."""
    noise = gaussian_filter(np.random.default_rng(7).normal(size=(2, *shape)), (0, 1.5, 1.5))
    bright, turn = noise / noise.std()
    return (0.7 + 0.3 * np.tanh(bright)) * np.exp(0.8j * np.tanh(turn))


def a_probe(side=N, modes=1):
    """The study's probe, and a second mode that is unlike it."""
    probe = make_probe(TriangleProbe(shape="triangle"), side)[None]
    second = np.roll(probe, 3, axis=-1) * np.linspace(-0.6, 0.6, side)[:, None]
    return np.concatenate([probe, second])[:modes]


def a_scan(*, side=N, step=3.3, frames=(8, 9), jitter=0.7, modes=1, counts=None, real="f4"):
    """Return a scan of so many rows and columns of frames; counts: Poisson, this many a frame."""
    # Even, so that its middle is between pixels as a window's is.
    thing = rough_object([2 * math.ceil((side + step * (n - 1) + 2) / 2) for n in frames])
    places = np.meshgrid(*(1.0 + step * np.arange(n) for n in frames), indexing="ij")
    positions = np.stack(places, axis=-1).reshape(-1, 2)
    positions += jitter * np.random.default_rng(0).uniform(-0.5, 0.5, positions.shape)
    probe, scale = a_probe(side, modes), None
    power = patterns(probe, thing, positions)
    if counts is not None:
        scale = float(np.sqrt(counts / power.sum(axis=(1, 2)).mean()))
        power = np.random.default_rng(1).poisson(power * scale**2) / scale**2
    wave = "c8" if real == "f4" else "c16"
    return Scan(
        source="made", amplitude_nHW=np.sqrt(power).astype(real), positions_n2=positions,
        probe_MHW=probe.astype(wave), object_YX=thing.astype(wave), intensity_scale=scale,
    )  # fmt: skip


def canonical(scan, **changes):
    """Return a scan's arrays as the field's NPZ has them; of those changed, None is left out."""
    rows, columns = scan.positions_n2.T + scan.patch_px // 2
    arrays = {
        "diffraction": scan.amplitude_nHW, "xcoords": columns, "ycoords": rows,
        "probeGuess": scan.probe_MHW[0], "objectGuess": scan.object_YX, **changes,
    }  # fmt: skip
    return {name: array for name, array in arrays.items() if array is not None}


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


def untrained_bundle(probe_MHW=None, *, gridsize=1, **changes):
    """A small network's bundle for frames of 16 px, with changed settings."""
    settings = {
        "generator": GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4),
        **{"patch_px": 16, "channels": gridsize**2, "gridsize": gridsize, "object_big": True},
        **{"input_scale": 1.0, "norm_Y_I": 4.0, "intensity_scale": 900.0},
        **{"intensity_scale_source": "measured", "dataset": "tiny", **changes},
    }
    network = build_generator(
        settings["generator"], channels=gridsize**2, patch_px=settings["patch_px"], seed=1
    )
    probe = torch.ones(1, 16, 16) if probe_MHW is None else torch.as_tensor(probe_MHW)
    return Bundle(
        settings=BundleSettings(**settings), weights=network.state_dict(),
        probe_MHW=probe.to(torch.complex64), record={"seed": 1},
    )  # fmt: skip


SCANS = {"whole": 0.0, "fractional": 1.0}
"""Jitter of the scans that pty-chi reconstructed too, for ptychi.npz."""
DETAILED = {"side": 24, "step": 3, "frames": (7, 7), "real": "f8"}


def truth_on(origin, shape, scan):
    """The true object on a canvas."""
    (row, column), (rows, columns) = origin, shape
    return scan.object_YX[row : row + rows, column : column + columns]


def apart(found, scan, light):
    """Relative distance of an object from a scan's after one complex factor, where at least a tenth
    of the most light fell; `found`, `light`: arrays with the position of their first pixel."""
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
