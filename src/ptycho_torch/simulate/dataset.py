"""Make the three splits of a dataset: objects, probe, scan, diffraction, noise, files.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes. docs/files.md has the
arrays of a split.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch import __version__, io
from ptycho_torch.config.base import InputError
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.physics.forward import exit_waves, intensities
from ptycho_torch.physics.stitch import tile_extent
from ptycho_torch.simulate.noise import count_photons
from ptycho_torch.simulate.objects import draw_objects
from ptycho_torch.simulate.probes import make_probe
from ptycho_torch.simulate.scan import Raster, cut_patches, raster
from ptycho_torch.streams import named_stream

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
Arrays = dict[str, NDArray[Any]]
_BATCH = 256


def simulate_dataset(
    settings: SimulatedDataset, *, name: str, splits: Mapping[str, str | Path], summary: str | Path
) -> None:
    """Write `train`, `validation` and `test` to the paths in `splits`, and `dataset.json`.

    The intensity scale s is measured on the training split and used for all three.

    Raises
    ------
    InputError
        If a probe file cannot be used, or no photon arrives.
    """
    probe = make_probe(settings.probe, settings.patch_px)
    scale: float | None = None
    facts: dict[str, Any] = {}
    for split in SPLITS:
        made = simulate_split(settings, split, probe, intensity_scale=scale)
        scale = made.intensity_scale
        io.write_npz(splits[split], made.arrays)
        facts[split] = split_facts(made.arrays, splits[split])
        facts[split]["noise_floor"] = made.noise_floor
        logger.info("%s: %s", split, facts[split])
    io.write_json(
        summary,
        {
            "dataset": name,
            "settings": settings.model_dump(mode="json"),
            "patch_px": settings.patch_px,
            "test_step_px": settings.scan.test_step_px,
            "intensity_scale": scale,
            "splits": facts,
            "versions": {"ptycho_torch": __version__, "numpy": np.__version__},
        },
    )


@dataclass(frozen=True, slots=True)
class SimulatedSplit:
    """One split: its arrays, s in force, and the relative MAE that the noise alone gives."""

    arrays: Arrays
    intensity_scale: float
    noise_floor: float


def simulate_split(
    settings: SimulatedDataset,
    split: str,
    probe: NDArray[np.complexfloating],
    *,
    intensity_scale: float | None = None,
) -> SimulatedSplit:
    """Simulate one split.

    Parameters
    ----------
    probe
        (H, W) or (M, H, W), normalised.
    intensity_scale
        s of the training split; None: measure it here.
    """
    seed = getattr(settings.seeds, split)
    objects = draw_objects(settings.object, images=settings.images_per_split, seed=seed)
    step = settings.scan.train_step_px if split == "train" else settings.scan.test_step_px
    scan = raster(
        settings.scan, size_px=settings.object.size_px, patch_px=settings.patch_px, step_px=step
    )
    patches = cut_patches(objects, scan, settings.patch_px)
    norm = float(np.abs(patches).max(axis=(-2, -1)).astype(np.float64).mean())
    probe_64 = probe.astype(np.complex64)
    patches /= np.float32(norm)
    amplitude, power = _propagate(patches, probe_64)
    scale = intensity_scale or float(np.sqrt(settings.photons / power))
    diffraction, noise_floor = amplitude, 0.0
    if settings.noise == "poisson":
        stream = named_stream(settings.seeds.noise, "noise", split)
        diffraction = count_photons(amplitude, scale, stream)
        if not diffraction.any():
            raise InputError(
                f"the {split} split has no photon at all: photons of {settings.photons:g} a "
                "pattern are too few"
            )
        noise_floor = float(np.abs(diffraction - amplitude).mean() / diffraction.mean())
    arrays: Arrays = {
        "diffraction": _last(diffraction),
        **_patch_arrays(patches, probe_64),
        **_coordinates(scan, settings.images_per_split),
        "YY_full": objects[..., None],
        "probeGuess": probe_64,
        "probe_simulated": probe_64,
        "norm_Y_I": np.array(norm),
        "intensity_scale": np.array(scale),
        "_metadata": np.array(_metadata(settings, split)),
    }
    if split == "test":
        extent = tile_extent(scan.corners_n2, patch_px=settings.patch_px, tile_px=step)
        arrays["YY_ground_truth"] = objects[(slice(None), *extent)][..., None]
    return SimulatedSplit(arrays, scale, noise_floor)


def _propagate(
    patches: NDArray[np.complex64], probe: NDArray[np.complex64]
) -> tuple[NDArray[np.float32], float]:
    """Return noise-free amplitudes (n, C, H, W) and the mean over patches of sum |psi|^2."""
    modes = torch.from_numpy(probe).reshape(-1, *probe.shape[-2:])
    amplitude = np.empty(patches.shape, dtype=np.float32)
    power = 0.0
    for start in range(0, len(patches), _BATCH):
        batch = torch.from_numpy(patches[start : start + _BATCH])
        amplitude[start : start + _BATCH] = intensities(batch, modes).sqrt().numpy()
        power += float(exit_waves(batch, modes).abs().square().double().sum())
    return amplitude, power / (patches.shape[0] * patches.shape[1])


def _patch_arrays(patches: NDArray[np.complex64], probe: NDArray[np.complex64]) -> Arrays:
    modulus = np.sqrt((np.abs(probe) ** 2).reshape(-1, *probe.shape[-2:]).sum(axis=0))
    return {"Y_I": _last(np.abs(patches) * modulus), "Y_phi": _last(np.angle(patches))}


def _last(stack: NDArray[Any]) -> NDArray[np.float32]:
    """(n, C, H, W) -> (n, H, W, C), contiguous."""
    return np.ascontiguousarray(np.moveaxis(stack, 1, -1), dtype=np.float32)


def _coordinates(scan: Raster, images: int) -> Arrays:
    channels = len(scan.nominal_C2)
    corners = np.tile(scan.corners_n2, (images, 1)).astype(np.float32)
    offsets = np.repeat(corners[:, None, :, None], channels, axis=-1)
    nominal = np.broadcast_to(scan.nominal_C2.T.astype(np.float32)[None, None], offsets.shape)
    return {
        "coords_offsets": offsets,
        "coords_nominal": nominal.copy(),
        "coords_true": nominal.copy(),
        "image_index": np.repeat(np.arange(images, dtype=np.int32), len(scan.corners_n2)),
    }


def _metadata(settings: SimulatedDataset, split: str) -> str:
    return json.dumps(
        {"split": split, "settings": settings.model_dump(mode="json"), "ptycho_torch": __version__}
    )


def split_facts(arrays: Mapping[str, NDArray[Any]], path: str | Path) -> dict[str, Any]:
    """Return what `dataset.json` says of one split; `path` is the file as written."""
    diffraction = arrays["diffraction"]
    return {
        "file": Path(path).name,
        "sha256": io.sha256(path),
        "groups": diffraction.shape[0],
        "channels": diffraction.shape[-1],
        "mean_amplitude": float(diffraction.mean(dtype=np.float64)),
        "norm_Y_I": float(arrays["norm_Y_I"]),
    }
