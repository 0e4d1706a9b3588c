"""Score the iterative reconstruction on its way: its quality against the time it took.

Letters: B patches (first channel of each group), H rows, W columns.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.block import reconstruct, score
from ptycho_torch.evaluate.scores import value_of
from ptycho_torch.evaluate.truth import GroundTruth, read_truth
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import object_patches
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

SCORED = ("amplitude_ssim", "phase_ssim", "complex_error")
_RUN_KEYS = ("settings", "dataset_sha256", "iterations", "r_factor", "device", "threads")


def evaluate_progress(
    *,
    test: io.PathLike,
    dataset: io.PathLike,
    objects: io.PathLike,
    run: io.PathLike,
    settings: Mapping[str, Any],
    progress: io.PathLike,
) -> None:
    """Score the objects of some iterations and write `progress.json` (docs/reference/files.md).

    They take the path of a network's patches: cut at the test positions, stitched, aligned.
    `objects` and `run` are the reconstruction's; `InputError` if the files do not belong together.
    """
    record = io.read_json(run)
    limits, truth = EvaluationSettings.model_validate(settings), read_truth(test, dataset)
    arrays = io.read_npz(objects)
    images = {int(key.split("_")[1]) for key in arrays if key.startswith("origin")}
    if images != set(range(len(truth.objects_IHW))):
        raise InputError(
            f"{objects}: has objects of the images {sorted(images)}, the test split has "
            f"{len(truth.objects_IHW)}; reconstruct it again"
        )
    elapsed = np.cumsum(record["seconds"])
    rows: list[dict[str, Any]] = []
    for number in sorted({int(key.split("_")[3]) for key in arrays if key.startswith("object")}):
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            scores = score(reconstruct(_patches(arrays, number, truth), truth, limits))
        row = {
            "iteration": number,
            "seconds": round(float(elapsed[number - 1]), 6),
            "error": record["error"][number - 1],
        }
        rows.append(row | {name: value_of(scores[name]) for name in SCORED})
        logger.info("%s", rows[-1])
    io.write_json(progress, {"scored": rows, **{key: record[key] for key in _RUN_KEYS}})


def _patches(
    arrays: Mapping[str, NDArray[Any]], number: int, truth: GroundTruth
) -> NDArray[np.complex64]:
    """Return the patches that the objects show after an iteration, (B, H, W); an image that ended
    before it shows its last object."""
    side = truth.probe_MHW.shape[-1]
    patches = np.empty((len(truth.image_B), side, side), np.complex64)
    for image in range(len(truth.objects_IHW)):
        start = f"object_{image}_iteration_"
        kept = [int(key.removeprefix(start)) for key in arrays if key.startswith(start)]
        last = max([n for n in kept if n <= number], default=min(kept))
        mine = np.flatnonzero(truth.image_B == image)
        corners = truth.positions_B2[mine] - arrays[f"origin_{image}"]
        thing = arrays[f"{start}{last}"][None]
        patches[mine] = object_patches(thing, corners, np.array(0), side)
    return patches
