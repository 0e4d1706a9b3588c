"""Reconstruct the test split of a dataset by rPIE, as the row beside the networks.

Letters: n groups, C channels (patches of a group), H rows, W columns.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ptycho_torch.config.reconstruct import ConventionalSettings
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.files import io
from ptycho_torch.files.schemas import read_result
from ptycho_torch.physics.predict import r_factor
from ptycho_torch.physics.stitch import object_patches
from ptycho_torch.reconstruct.engine import Reconstruction, reconstruct
from ptycho_torch.reconstruct.run import machine
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads

logger = logging.getLogger(__name__)


def reconstruct_test_split(
    settings: ConventionalSettings,
    *,
    test: io.PathLike,
    dataset: io.PathLike,
    outputs: Mapping[str, Any],
) -> None:
    """Reconstruct every image of a test split by rPIE from the frames of all its channels.

    The probe is that of the file, in the units of its amplitudes, so the object comes out in units
    of `norm_Y_I`, as a network predicts it. The files, `run`, `patches` and `objects`
    (docs/reference/files.md), have the form of a training run's, so that the same evaluation
    scores them. `InputError` if the split is damaged, not the one that `dataset.json` names, or
    without positions.
    """
    torch.set_num_threads(usable_threads(settings.threads))
    facts = read_result(dataset, "dataset")
    checksums = {name: part["sha256"] for name, part in facts["splits"].items()}
    split = read_split(test, patch_px=facts["patch_px"], sha256=checksums["test"])
    for key in ("coords_offsets", "coords_nominal", "image_index"):
        if key not in split.arrays:
            raise InputError(f"{test}: has no array '{key}'; rPIE needs to know where frames lie")
    corners = split.arrays["coords_offsets"] + split.arrays["coords_nominal"]
    positions_nC2 = np.moveaxis(corners[:, 0], -1, 1).astype(np.float64)
    observed, side = split.diffraction_nCHW, split.probe_MHW.shape[-1]
    patches, predicted = np.empty(observed.shape, np.complex64), np.empty_like(observed)
    made: dict[int, Reconstruction] = {}
    begin = time.monotonic()
    for image in np.unique(split.arrays["image_index"]).tolist():
        mine = split.arrays["image_index"] == image
        where, frames = positions_nC2[mine].reshape(-1, 2), observed[mine].reshape(-1, side, side)
        one = made[image] = reconstruct(
            frames, where, split.probe_MHW, settings, snapshots=settings.scored_iterations
        )
        whole = np.rint(where).astype(int) - np.array(one.origin)
        cut = object_patches(one.object_YX[None], whole, np.array(0), side)
        patches[mine] = cut.reshape(patches[mine].shape)
        predicted[mine] = one.predict(where).reshape(patches[mine].shape)
    wall_s = time.monotonic() - begin
    last_nHWC = np.ascontiguousarray(np.moveaxis(patches, 1, -1))
    io.write_npz(outputs["patches"], {"best": last_nHWC, "last": last_nHWC})
    io.write_npz(outputs["objects"], _objects(made))
    found = r_factor(predicted.reshape(-1, side, side), observed.reshape(-1, side, side))
    record = {
        "dataset": facts["dataset"],
        "settings": settings.model_dump(mode="json"),
        "seed": settings.seed,
        "dataset_sha256": checksums,
        **_as_run(list(made.values())),
        "wall_s": round(wall_s, 3),
        **machine(),
        "r_factor": found if np.isfinite(found) else None,
    }
    io.write_json(outputs["run"], record)
    logger.info("R factor %.5g after %d iterations in %.1f s", found, record["iterations"], wall_s)


def _objects(made: Mapping[int, Reconstruction]) -> dict[str, Any]:
    """Return the arrays of `objects.npz`: per image the canvas' corner and its snapshots."""
    arrays: dict[str, Any] = {}
    for image, one in made.items():
        arrays[f"origin_{image}"] = np.array(one.origin)
        # The last iteration is there, also where it ended early.
        for number, object_YX in {**one.snapshots, len(one.error): one.object_YX}.items():
            arrays[f"object_{image}_iteration_{number}"] = object_YX
    return arrays


def _as_run(made: list[Reconstruction]) -> dict[str, Any]:
    """Return what `run.json` says of a training run; what has no meaning here is null. An image
    that ended early keeps its last error and takes no more time."""
    longest = max(len(one.error) for one in made)
    errors = np.mean([np.pad(one.error, (0, longest - len(one.error)), "edge") for one in made], 0)
    seconds = np.sum([np.pad(one.seconds, (0, longest - len(one.error))) for one in made], 0)
    broken = any(one.stopped == "non_finite" for one in made)
    failure = {"epoch": longest, "step": None, "reason": "the object is not finite"}
    return {
        "arm": "rpie",
        "engine": "rPIE",
        "outcome": "non_finite" if broken else "completed",
        "failure": failure if broken else None,
        **dict.fromkeys(("best_val_loss", "last_val_loss", "best_mae_val_loss")),
        "iterations": longest,
        "stopped": sorted({one.stopped for one in made}),
        "error": [float(error) if np.isfinite(error) else None for error in errors],
        "seconds": [round(float(second), 6) for second in seconds],
    }
