"""Score the conventional reconstruction pass by pass: its quality against the time it took.

Letters: B patches (first channel of each group), H rows, W columns.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.evaluate.block import reconstruct, score
from ptycho_torch.evaluate.run import read_settings
from ptycho_torch.evaluate.scene import Scene, read_scene
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.physics.views import object_patches
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

SCORED = ("amplitude_ssim", "phase_synchronised_ssim", "complex_error_synchronised")
_RUN_KEYS = (
    *("dataset", "engine", "settings", "dataset_sha256", "passes", "error", "seconds"),
    *("wall_s", "r_factor", "device", "threads", "commit", "platform", "versions"),
)


def evaluate_progress(
    *,
    test: PathLike,
    dataset: PathLike,
    objects: PathLike,
    run: PathLike,
    settings: Mapping[str, Any],
    progress: PathLike,
) -> None:
    """Score the objects kept after some passes and write `progress.json` (docs/files.md).

    They take the path of a network's patches: cut at the test positions, stitched, aligned.

    Parameters
    ----------
    test, dataset, objects, run
        `test.npz`, `dataset.json`, and the `objects.npz` and `run.json` of the reconstruction.
    settings
        Of `EvaluationSettings`.
    progress
        File to write.

    Raises
    ------
    InputError
        If a file lacks something or the files do not belong together.
    """
    record = io.read_json(run)
    for key in _RUN_KEYS:
        if key not in record:
            raise InputError(f"{run}: lacks '{key}'; another version wrote it, make it again")
    limits, scene = read_settings(settings), read_scene(test, dataset)
    kept = _read_objects(objects, scene)
    elapsed = np.cumsum(record["seconds"])
    rows = []
    for number in sorted({number for passes in kept.values() for number in passes}):
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            scores = score(reconstruct(_cut(kept, number, objects, scene), scene, limits))
        found = {name: scores[name] for name in SCORED}
        rows.append(
            {
                "pass": number,
                "seconds": round(float(elapsed[number - 1]), 6),
                "error": record["error"][number - 1],
                **{
                    key: value if isinstance(value, float) else None for key, value in found.items()
                },
            }
        )
        logger.info("%s", rows[-1])
    io.write_json(
        progress, {"scored": rows, **{key: record[key] for key in _RUN_KEYS if key != "error"}}
    )


def _read_objects(path: PathLike, scene: Scene) -> dict[int, list[int]]:
    """Return which passes are kept of each image."""
    kept: dict[int, list[int]] = {}
    for name in io.npz_keys(path):
        parts = name.split("_")
        if parts[0] == "object":
            kept.setdefault(int(parts[1]), []).append(int(parts[3]))
    if set(kept) != set(range(len(scene.objects_IHW))):
        raise InputError(
            f"{path}: has objects of the images {sorted(kept)}, the test split has "
            f"{len(scene.objects_IHW)}; reconstruct it again"
        )
    return kept


def _cut(
    kept: Mapping[int, list[int]], number: int, path: PathLike, scene: Scene
) -> NDArray[np.complex64]:
    """Return the patches that the objects show after a pass, (B, H, W); an image that ended
    before it shows its last object.
    """
    side = scene.probe_MHW.shape[-1]
    patches = np.empty((len(scene.image_B), side, side), np.complex64)
    for image, passes in kept.items():
        last = max(p for p in passes if p <= number or p == min(passes))
        names = f"object_{image}_pass_{last}", f"origin_{image}"
        arrays = io.read_npz(path, *names)
        mine = np.flatnonzero(scene.image_B == image)
        corners = scene.positions_B2[mine] - arrays[names[1]]
        patches[mine] = object_patches(arrays[names[0]][None], corners, np.array(0), side)
    return patches
