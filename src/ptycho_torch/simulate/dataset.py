"""Make the three splits of a dataset: objects, probe, scan, diffraction, noise, files.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes. docs/files.md has the
arrays of a split.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch import __version__
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import tile_extent
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.provenance import versions
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.simulate.frames import (
    Each,
    Scene,
    diffract,
    draw_scene,
    illuminated,
    mean_power,
)
from ptycho_torch.simulate.noise import count_photons
from ptycho_torch.simulate.probes import make_probe
from ptycho_torch.simulate.scan import Raster

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
Arrays = dict[str, NDArray[Any]]


def simulate_dataset(
    settings: SimulatedDataset,
    *,
    name: str,
    splits: Mapping[str, str | Path],
    summary: str | Path,
    threads: int = 1,
) -> None:
    """Write `train`, `validation` and `test` to the paths in `splits`, and `dataset.json`.

    The intensity scale s is measured on the training split and used for all three. Threads share
    the work; no number depends on how many there are.

    Raises
    ------
    InputError
        If a probe file cannot be used, or no photon arrives.
    """
    probe = make_probe(settings.probe, settings.patch_px)

    def finish(split: str, scene: Scene, exposed: Exposed) -> dict[str, Any]:
        found = _finished(settings, split, probe, scene, exposed)
        io.write_npz(splits[split], found.arrays)
        facts = split_facts(found.arrays, splits[split])
        return {**facts, "noise_floor": found.noise_floor}

    with _workers(threads) as pool:
        drawn = {split: pool.submit(draw_scene, settings, split) for split in SPLITS}
        scale = _intensity_scale(settings, drawn["train"].result(), probe, pool.map)
        jobs = {}
        # Threads write one split while they expose the next.
        for split in SPLITS:
            scene = drawn[split].result()
            exposed = expose(settings, split, scene, probe, scale, pool.map)
            jobs[split] = pool.submit(finish, split, scene, exposed)
        facts = {split: job.result() for split, job in jobs.items()}
    for split, found in facts.items():
        logger.info("%s: %s", split, found)
    io.write_json(
        summary,
        {
            "dataset": name,
            "settings": settings.published(),
            "patch_px": settings.patch_px,
            "test_step_px": settings.scan.test_step_px,
            "intensity_scale": scale,
            "splits": facts,
            "versions": versions(np),
        },
    )


@contextlib.contextmanager
def _workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that share the batches; torch in each of them has no further threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(usable_threads(threads)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class SimulatedSplit:
    """One split: its arrays, s in force, and the relative MAE that the noise alone gives."""

    arrays: Arrays
    intensity_scale: float
    noise_floor: float


@dataclass(frozen=True, slots=True)
class Exposed:
    """What the detector sees of a split, (n, C, H, W), and MAE of the noise over the mean."""

    diffraction: NDArray[np.float32]
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
    scene = draw_scene(settings, split)
    scale = intensity_scale or _intensity_scale(settings, scene, probe)
    return _finished(settings, split, probe, scene, expose(settings, split, scene, probe, scale))


def expose(
    settings: SimulatedDataset,
    split: str,
    scene: Scene,
    probe: NDArray[np.complexfloating],
    scale: float,
    each: Each = map,
) -> Exposed:
    """Return what the detector sees of a scene at an intensity scale s.

    Raises
    ------
    InputError
        If no photon arrives.
    """
    amplitude = diffract(scene, _modes(probe), each)
    if settings.noise != "poisson":
        return Exposed(amplitude, scale, 0.0)
    stream = partial(named_stream, settings.seeds.noise, "noise", split)
    diffraction = count_photons(amplitude, scale, stream, each)
    if not diffraction.any():
        raise InputError(
            f"the {split} split has no photon at all: photons of {settings.photons:g} a "
            "pattern are too few"
        )
    error = np.subtract(diffraction, amplitude, out=amplitude)
    noise_floor = float(np.abs(error, out=error).mean() / diffraction.mean())
    return Exposed(diffraction, scale, noise_floor)


def _finished(
    settings: SimulatedDataset,
    split: str,
    probe: NDArray[np.complexfloating],
    scene: Scene,
    exposed: Exposed,
) -> SimulatedSplit:
    lit, phase = illuminated(scene, _modes(probe))
    probe_64 = probe.astype(np.complex64)
    arrays: Arrays = {
        "diffraction": _last(exposed.diffraction),
        "Y_I": _last(lit),
        "Y_phi": _last(phase),
        **_coordinates(scene.scan, settings.images_per_split),
        "YY_full": scene.drawn[..., None],
        "probeGuess": probe_64,
        "probe_simulated": probe_64,
        "norm_Y_I": np.array(scene.norm),
        "intensity_scale": np.array(exposed.intensity_scale),
        "_metadata": np.array(_metadata(settings, split)),
    }
    if split == "test":
        extent = tile_extent(
            scene.scan.corners_n2, patch_px=settings.patch_px, tile_px=scene.step_px
        )
        arrays["YY_ground_truth"] = scene.drawn[(slice(None), *extent)][..., None]
    return SimulatedSplit(arrays, exposed.intensity_scale, exposed.noise_floor)


def _modes(probe: NDArray[np.complexfloating]) -> Tensor:
    """Return (M, H, W) in the type that simulates and trains."""
    return torch.from_numpy(probe.astype(np.complex64)).reshape(-1, *probe.shape[-2:])


def _intensity_scale(
    settings: SimulatedDataset, scene: Scene, probe: NDArray[np.complexfloating], each: Each = map
) -> float:
    return float(np.sqrt(settings.photons / mean_power(scene, _modes(probe), each)))


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
        {"split": split, "settings": settings.published(), "ptycho_torch": __version__}
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
