"""Reconstruct the test split of a dataset by rPIE, as the row beside the networks.

The files have the form of a training run's, so that the same evaluation scores them.

Letters: I images, n groups, C channels (patches of a group), H rows, W columns, M probe modes, Y
rows, X columns of an object's canvas.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.reconstruct import ConventionalSettings
from ptycho_torch.data.dataset_file import Split, read_split
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.files.schemas import PatchFacts, read_result
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.physics.views import object_patches
from ptycho_torch.reconstruct.rpie import Reconstruction, reconstruct_rpie
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.provenance import commit, platform_name, versions

logger = logging.getLogger(__name__)

NAME = "rpie"


def reconstruct_test_split(
    settings: ConventionalSettings, *, test: PathLike, dataset: PathLike, outputs: Mapping[str, Any]
) -> None:
    """Reconstruct every image of a test split from the frames of all its channels.

    The probe is that of the file, in the units of its amplitudes, so the object comes out in units
    of `norm_Y_I`, as a network predicts it.

    Parameters
    ----------
    test, dataset
        `test.npz`, and the `dataset.json` whose checksum it must have.
    outputs
        Paths of `run`, `patches` and `objects` (docs/files.md).

    Raises
    ------
    InputError
        If a file is damaged, not the one that `dataset.json` names, or without positions.
    """
    torch.set_num_threads(usable_threads(settings.threads))
    facts = read_result(dataset, PatchFacts)
    checksum = facts["splits"]["test"]["sha256"]
    split = read_split(test, patch_px=facts["patch_px"], sha256=checksum)
    positions_nC2, image_n = _positions(split, test)
    begin = time.monotonic()
    made = {
        image: _one_image(split, positions_nC2, image_n == image, settings)
        for image in np.unique(image_n).tolist()
    }
    wall_s = time.monotonic() - begin
    patches = _cut_patches(made, positions_nC2, image_n, split.probe_MHW.shape[-1])
    io.write_npz(outputs["patches"], {"best": patches, "last": patches})
    io.write_npz(outputs["objects"], _objects(made))
    found = _r_factor(split, made, positions_nC2, image_n)
    record = _record(settings, facts, made, wall_s)
    record["r_factor"] = found if np.isfinite(found) else None
    io.write_json(outputs["run"], record)
    logger.info("R factor %.5g after %d passes in %.1f s", found, record["passes"], wall_s)


def _positions(split: Split, path: PathLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the corner of each patch, (n, C, 2), and the image that a group shows, (n,)."""
    for key in ("coords_offsets", "coords_nominal", "image_index"):
        if key not in split.arrays:
            raise InputError(f"{path}: has no array '{key}'; rPIE needs to know where frames lie")
    corners = split.arrays["coords_offsets"] + split.arrays["coords_nominal"]
    positions_nC2 = np.moveaxis(corners[:, 0], -1, 1).astype(np.float64)
    return positions_nC2, split.arrays["image_index"].astype(np.int64)


def _one_image(
    split: Split,
    positions_nC2: NDArray[np.float64],
    mine_n: NDArray[np.bool_],
    settings: ConventionalSettings,
) -> Reconstruction:
    frames_nCHW = split.diffraction_nCHW[mine_n]
    return reconstruct_rpie(
        frames_nCHW.reshape(-1, *frames_nCHW.shape[2:]),
        positions_nC2[mine_n].reshape(-1, 2),
        split.probe_MHW,
        settings,
        snapshots=settings.scored_passes,
    )


def _cut_patches(
    made: Mapping[int, Reconstruction],
    positions_nC2: NDArray[np.float64],
    image_n: NDArray[np.int64],
    side_px: int,
) -> NDArray[np.complex64]:
    """Return what the objects show at the frames' whole positions, (n, H, W, C)."""
    patches = np.empty((*positions_nC2.shape[:2], side_px, side_px), np.complex64)
    for image, result in made.items():
        mine = image_n == image
        corners = np.rint(positions_nC2[mine]).astype(int) - result.origin
        patches[mine] = object_patches(result.object_YX[None], corners, np.array(0), side_px)
    return np.ascontiguousarray(np.moveaxis(patches, 1, -1))


def _objects(made: Mapping[int, Reconstruction]) -> dict[str, Any]:
    """Return the arrays of `objects.npz`: per image the canvas' corner and its snapshots."""
    arrays: dict[str, Any] = {}
    for image, result in made.items():
        arrays[f"origin_{image}"] = np.array(result.origin)
        # The last pass is there, also where it ended early.
        for number, object_YX in {**result.snapshots, len(result.error): result.object_YX}.items():
            arrays[f"object_{image}_pass_{number}"] = object_YX
    return arrays


def _r_factor(
    split: Split,
    made: Mapping[int, Reconstruction],
    positions_nC2: NDArray[np.float64],
    image_n: NDArray[np.int64],
) -> float:
    """Return the R factor of the finished objects over all frames."""
    observed = split.diffraction_nCHW
    predicted = np.empty_like(observed)
    for image, result in made.items():
        mine = image_n == image
        frames = predict_amplitudes(
            result.object_YX,
            result.probe_MHW,
            positions_nC2[mine].reshape(-1, 2),
            origin=result.origin,
        )
        predicted[mine] = frames.reshape(predicted[mine].shape)
    side = observed.shape[-1]
    return r_factor(predicted.reshape(-1, side, side), observed.reshape(-1, side, side))


def _record(
    settings: ConventionalSettings,
    facts: Mapping[str, Any],
    made: Mapping[int, Reconstruction],
    wall_s: float,
) -> dict[str, Any]:
    """Return `run.json`; what has no meaning without training is null."""
    passes = max(len(result.error) for result in made.values())
    broken = any(result.stopped == "non_finite" for result in made.values())
    failure = {"epoch": passes, "step": None, "reason": "the object is not finite"}
    # An image that ended early keeps its last error and takes no more time.
    errors = np.mean([_filled(r.error, passes, r.error[-1]) for r in made.values()], axis=0)
    seconds = np.sum([_filled(r.seconds, passes, 0.0) for r in made.values()], axis=0)
    return {
        "dataset": facts["dataset"],
        "arm": NAME,
        "seed": settings.seed,
        "engine": "rPIE",
        "settings": settings.model_dump(mode="json"),
        "dataset_sha256": {name: split["sha256"] for name, split in facts["splits"].items()},
        "outcome": "non_finite" if broken else "completed",
        "failure": failure if broken else None,
        "best_val_loss": None,
        "last_val_loss": None,
        "best_mae_val_loss": None,
        "passes": passes,
        "stopped": sorted({result.stopped for result in made.values()}),
        "error": [float(error) if np.isfinite(error) else None for error in errors],
        "seconds": [round(float(second), 6) for second in seconds],
        "wall_s": round(wall_s, 3),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "commit": commit(Path(__file__)),
        "platform": platform_name(),
        "versions": versions(torch, np),
    }


def _filled(values: Sequence[float], length: int, last: float) -> list[float]:
    return [*values, *[last] * (length - len(values))]
