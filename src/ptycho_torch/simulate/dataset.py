"""Make the three splits of a dataset: objects, probe, scan, diffraction, noise, files.

Probes are known: triangle (the study's), disk (a control), or from a file. All are centred at
((N - 1) / 2, (N - 1) / 2), where turning an array by 180 degrees leaves its centre, and are
normalised once by `normalise`.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes. Arrays:
docs/reference/files.md.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy
import torch
from numpy.typing import NDArray

from ptycho_torch import __version__
from ptycho_torch.config.dataset import (
    DEFAULT,
    DatasetFiles,
    DiskProbe,
    FileProbe,
    Probe,
    SimulatedDataset,
    TriangleProbe,
)
from ptycho_torch.data.dataset_file import Split
from ptycho_torch.data.scan import check_array
from ptycho_torch.data.training import TrainingData
from ptycho_torch.data.units import normalisation, normalise, radius_px
from ptycho_torch.files import io
from ptycho_torch.physics.predict import constant_loss
from ptycho_torch.physics.stitch import tile_extent
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.provenance import versions
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.simulate.frames import (
    count_photons,
    diffract,
    draw_scene,
    illuminated_patches,
    mean_power,
)

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
Arrays = dict[str, NDArray[Any]]
Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


def simulate_dataset(
    settings: SimulatedDataset, *, name: str, splits: Mapping[str, str | Path], summary: str | Path
) -> None:
    """Write `train`, `validation` and `test` to the paths in `splits`, and `dataset.json`;
    `InputError` if a probe file cannot be used."""
    torch.set_num_threads(1)  # Batches are small, and no number depends on the machine.
    facts, step_px = {}, settings.scan.test_step_px
    for split, made in simulated_splits(settings):
        facts[split] = {**write_split(splits[split], made.arrays), "noise_floor": made.noise_floor}
        count, floor = facts[split]["groups"], made.noise_floor
        logger.info("%s: %d groups; the loss of the noise alone is %.3g", split, count, floor)
    scale = made.intensity_scale  # One for all.
    write_summary(
        summary, settings, name, test_step_px=step_px, intensity_scale=scale, splits=facts
    )


def write_summary(
    path: str | Path, settings: SimulatedDataset | DatasetFiles, name: str, **facts: Any
) -> None:
    """Write `dataset.json`: these facts, and what the settings say."""
    said = {"dataset": name, "settings": settings.published(), "patch_px": settings.patch_px}
    io.write_json(path, {**said, **facts, "versions": versions(np)})


class SimulatedSplit(NamedTuple):
    """One split: its arrays, s in force, and the relative MAE that the noise alone gives."""

    arrays: Arrays
    intensity_scale: float
    noise_floor: float


def simulate(settings: SimulatedDataset = DEFAULT) -> TrainingData:
    """Return training, validation and test data of simulated scans, in memory."""
    return TrainingData.of_splits({
        split: Split(arrays, norm_Y_I=float(arrays["norm_Y_I"]), intensity_scale=scale)
        for split, (arrays, scale, _) in simulated_splits(settings)
    })  # fmt: skip


def simulated_splits(settings: SimulatedDataset) -> Iterator[tuple[str, SimulatedSplit]]:
    """Yield each split under its name, the training split first, whose s all of them have."""
    probe, scale = make_probe(settings.probe, settings.patch_px), None
    for split in SPLITS:
        made = simulate_split(settings, split, probe, intensity_scale=scale)
        scale = made.intensity_scale
        yield split, made


def simulate_split(
    settings: SimulatedDataset,
    split: str,
    probe: NDArray[np.complexfloating],
    *,
    intensity_scale: float | None = None,
) -> SimulatedSplit:
    """Simulate one split under a normalised probe, (H, W) or (M, H, W).

    intensity_scale: s of the training split; None: measure it here.
    """
    scene, probe = draw_scene(settings, split), probe.astype(np.complex64)
    modes = torch.from_numpy(probe).reshape(-1, *probe.shape[-2:])
    scale = intensity_scale or float(np.sqrt(settings.photons / mean_power(scene, modes)))
    diffraction, noise_floor = diffract(scene, modes), 0.0
    if settings.noise == "poisson":
        stream = partial(named_stream, settings.seeds.noise, "noise", split)
        exact, diffraction = diffraction, count_photons(diffraction, scale, stream)
        noise_floor = float(np.abs(diffraction - exact).mean() / diffraction.mean())
    amplitude, phase = illuminated_patches(scene, modes)
    scan, images = scene.scan, settings.images_per_split
    corners = np.tile(scan.corners_n2, (images, 1)).astype(np.float32)
    nominal = np.tile(scan.nominal_C2.T.astype(np.float32), (len(corners), 1, 1, 1))
    metadata = {"split": split, "settings": settings.published(), "ptycho_torch": __version__}
    arrays: Arrays = {
        "diffraction": _last(diffraction),
        "Y_I": _last(amplitude),
        "Y_phi": _last(phase),
        "coords_offsets": np.repeat(corners[:, None, :, None], len(scan.nominal_C2), axis=-1),
        "coords_nominal": nominal,
        "coords_true": nominal,
        "image_index": np.repeat(np.arange(images, dtype=np.int32), len(scan.corners_n2)),
        "YY_full": scene.drawn[..., None],
        "probeGuess": probe,
        "probe_simulated": probe,
        "norm_Y_I": np.array(scene.norm),
        "intensity_scale": np.array(scale),
        "_metadata": np.array(json.dumps(metadata)),
    }
    if split == "test":
        extent = tile_extent(scan.corners_n2, settings.patch_px, settings.scan.test_step_px)
        arrays["YY_ground_truth"] = scene.drawn[(slice(None), *extent)][..., None]
    return SimulatedSplit(arrays, scale, noise_floor)


def _last(stack: NDArray[Any]) -> NDArray[np.float32]:
    """(n, C, H, W) -> (n, H, W, C), contiguous."""
    return np.ascontiguousarray(np.moveaxis(stack, 1, -1), dtype=np.float32)


def write_split(path: str | Path, arrays: Arrays) -> dict[str, Any]:
    """Write one split; return what `dataset.json` says of it."""
    io.write_npz(path, arrays)
    diffraction, probe = arrays["diffraction"], arrays["probeGuess"]
    frames = np.moveaxis(diffraction, -1, 1).reshape(-1, *diffraction.shape[1:3])
    return {
        "sha256": io.sha256(path),
        "groups": diffraction.shape[0],
        "norm_Y_I": float(arrays["norm_Y_I"]),
        "constant_loss": constant_loss(frames, probe.reshape(-1, *probe.shape[-2:])),
    }


def make_probe(settings: Probe, patch_px: int) -> Complex:
    """Return the normalised probe, (H, W), or (M, H, W) for a file with several incoherent modes;
    `InputError` if a file's probe cannot be used, or has another size while `resize` is `refuse`.
    """
    match settings:
        case TriangleProbe():
            radius = settings.circumradius * patch_px
            amplitude = _soften(triangle_mask(patch_px, radius))
            phase = settings.edge_phase_rad * (radius_px(patch_px) / radius) ** 2
        case DiskProbe():
            mask = disk_mask(patch_px)
            amplitude = _soften(mask)
            phase = settings.edge_phase_rad * radius_px(patch_px) ** 2 * (np.pi / mask.sum())
        case FileProbe():
            probe = _of_file(settings, patch_px)
            amplitude, phase = np.abs(probe), np.angle(probe)
    sigma = settings.smoothing_sigma_px
    amplitude = scipy.ndimage.gaussian_filter(amplitude, sigma, axes=(-2, -1))
    return normalise(amplitude * np.exp(1j * phase))


def disk_mask(patch_px: int) -> Real:
    """Return 1 where the product of two Gaussian windows exceeds one half, (H, W)."""
    width = patch_px / (0.7 * np.pi**2)  # docs/reference/physics.md
    window = np.exp(-((np.arange(patch_px) - (patch_px - 1) / 2) ** 2) / (2 * width**2))
    return (np.outer(window, window) > 0.5).astype(float)


def triangle_mask(patch_px: int, radius: float) -> Real:
    """Return 1 inside an equilateral triangle with a corner towards row 0, (H, W)."""
    axis = np.arange(patch_px) - (patch_px - 1) / 2
    row, column = axis[:, None], np.abs(axis[None, :])
    # Distance from the centroid along the normal of the two upper sides.
    upper = np.cos(np.pi / 6) * column - np.sin(np.pi / 6) * row
    return (np.maximum(row, upper) <= radius / 2).astype(float)


def _soften(mask: Real) -> Real:
    return scipy.ndimage.gaussian_filter(mask, 1.0) + 1e-9


def _of_file(settings: FileProbe, patch_px: int) -> Complex:
    probe = io.read_npz(settings.path, "probeGuess")["probeGuess"]
    check_array(settings.path, "probeGuess", probe, "complex", ("H", "H"), ("M", "H", "H"))
    probe, side, how = probe.astype(np.complex128), probe.shape[-1], settings.resize
    if side != patch_px and (how == "refuse" or (how == "pad" and side > patch_px)):
        raise InputError(
            f"{settings.path}: probeGuess is {side} px, the patches are {patch_px} px; set "
            f"probe.resize to {'interpolate' if side > patch_px else 'pad or interpolate'}"
        )
    leading = probe.ndim - 2
    if side != patch_px and how == "interpolate":
        probe = scipy.ndimage.zoom(probe, (1,) * leading + (patch_px / side,) * 2, order=3)
    elif side != patch_px:
        before = (patch_px - side) // 2
        widths = ((0, 0),) * leading + ((before, patch_px - side - before),) * 2
        probe = np.pad(probe, widths)
    if not 0 < normalisation(probe) < np.inf:
        raise InputError(
            f"{settings.path}: probeGuess is not finite, or dark within a quarter of the frame "
            "round its centre; centre it"
        )
    return probe
