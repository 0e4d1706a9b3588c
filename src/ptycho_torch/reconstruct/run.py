"""Reconstruct a user's scan, the parts of a measurement, or a dataset's test split, and write what
came out (docs/reference/files.md).

Letters: n frames, N frames of all groups, C frames of a group, M probe modes, H rows, W columns.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.scan import ConventionalSettings, RpieSettings
from ptycho_torch.data.dataset_file import Split, read_split
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.write import PARTS
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.physics.predict import r_factor
from ptycho_torch.physics.stitch import object_patches
from ptycho_torch.reconstruct.rpie import OnIteration, Reconstruction, reconstruct
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.provenance import versions

logger = logging.getLogger(__name__)

# An object is in doubt from so many iterations on, if the last fifth of them left this share of R
# and R is beyond this: where photons are not known; where they are, absolute and over their noise.
_ENOUGH, _FLAT = 10, 0.9
_FAR, _CLOSE, _NOISES = 0.15, 0.1, 2.5

OUTPUTS = ("report.json", "object.npz", "reconstruction.png")


def reconstruct_scan(
    scan: Scan,
    settings: RpieSettings,
    *,
    folder: PathLike,
    threads: int = 1,
    device: str = "cpu",
    overwrite: bool = False,
    on_iteration: OnIteration | None = None,
) -> dict[str, Any]:
    """Reconstruct a scan, write `OUTPUTS` into a folder, and return what `report.json` holds.

    `InputError` as `reconstruct`, or if the folder holds files.
    """
    from ptycho_torch.files.pictures import draw_objects, save_png  # Slow to import.

    folder = io.must_be_free(folder, OUTPUTS, overwrite=overwrite)
    torch.set_num_threads(usable_threads(threads))
    made = reconstruct(scan, settings, on_iteration=on_iteration, device=device)
    predicted = made.predict(scan.positions_n2)
    report = {
        "source": Path(scan.source).name,
        "notes": list(scan.notes),
        "engine": "rpie",
        "settings": settings.model_dump(mode="json"),
        "batch_size": settings.frames_at_once(len(scan)),
        "frames": len(scan),
        "r_factor": r_factor(predicted, scan.amplitude_nHW, scan.good_1HW),
        "doubt": _doubt(made.error, scan),
        **_course([made]),
        **_machine(device),
    }
    arrays = {
        "object": made.object_YX,
        "origin": np.array(made.origin),
        "probe": made.probe_MHW,
        "light": made.light_YX,
        "error": np.array(made.error),
    }
    (folder / OUTPUTS[0]).unlink(missing_ok=True)
    io.write_npz(folder / "object.npz", arrays)
    images = {"object": made.known_YX, "first probe mode": made.probe_MHW[0]}
    save_png(folder / "reconstruction.png", draw_objects(images, alike=False))
    io.write_json(folder / "report.json", report)
    return report


def _doubt(errors: Sequence[float], scan: Scan) -> str | None:
    """Return why a reconstruction has hardly found the object: R stays where it is, far above what
    photon noise alone leaves; None if there is no reason to doubt it."""
    last = errors[-1]
    if len(errors) < _ENOUGH or last < _FLAT * errors[-1 - len(errors) // 5]:
        return None
    limit = _FAR
    if scan.intensity_scale is not None:
        # Roots of counts are off by 0.4 in the mean where there is a photon or more.
        roots = np.where(scan.used, scan.amplitude_nHW, 0) * scan.intensity_scale
        noise = 0.4 * int((roots >= 1).sum()) / float(roots.sum(dtype=np.float64))
        limit = max(_CLOSE, _NOISES * noise)
    if last <= limit:
        return None
    return (
        f"not converging: the R factor stays at {last:.3g}; run `ptycho-torch check` on the file "
        "for its conventions"
    )


def _course(made: Sequence[Reconstruction]) -> dict[str, Any]:
    """Return how reconstructions went: by iteration, their mean error and summed seconds."""
    seconds = np.sum([one.seconds for one in made], axis=0)
    return {
        "iterations": len(seconds),
        "error": np.mean([one.error for one in made], axis=0).tolist(),
        "seconds": seconds.round(6).tolist(),
    }


def _machine(device: str = "cpu") -> dict[str, Any]:
    """Return what a reconstruction was made with."""
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": versions(torch, np),
    }


def reconstruct_measurement(
    settings: RpieSettings,
    *,
    parts: Mapping[str, PathLike],
    outputs: Mapping[str, PathLike],
    threads: int,
) -> None:
    """Reconstruct a measurement by rPIE: its training frames, and each half of them.

    Each half starts anew from the file's probe, so nothing but the file is common to the two.
    Inputs are paths of `PARTS`, of which the held-out frames are not used, outputs of `objects`
    (NPZ) and `report` (JSON), see docs/reference/files.md.
    """
    torch.set_num_threads(usable_threads(threads))
    arrays: dict[str, NDArray[Any]] = {}
    seconds = 0.0
    for part in PARTS[:-1]:
        made = reconstruct(read_scan(parts[part]), settings)
        arrays |= {
            f"{part}_object": made.object_YX,
            f"{part}_origin": np.array(made.origin, np.int64),
            f"{part}_light": (made.light_YX / made.light_YX.max()).astype(np.float32),
            f"{part}_probe": made.probe_MHW,
        }
        seconds += sum(made.seconds)
        logger.info("%s: R %.4g after %d iterations", part, made.error[-1], len(made.error))
    io.write_npz(outputs["objects"], arrays)
    report = {
        "engine": "rPIE",
        "settings": settings.model_dump(mode="json"),
        "outcome": "completed",
        "failure": None,
        "seconds": round(seconds, 3),
        **_machine(),
    }
    io.write_json(outputs["report"], report)


def reconstruct_test_split(
    settings: ConventionalSettings,
    *,
    test: PathLike,
    dataset: PathLike,
    outputs: Mapping[str, Any],
) -> None:
    """Reconstruct every image of a test split by rPIE, from the frames of all its channels.

    The probe is that of the file, in the units of its amplitudes, so the object comes out in units
    of `norm_Y_I`, as a network predicts it. The files, `run`, `patches` and `objects`, have the
    form of a training run's, so that the same evaluation scores them. `InputError` if the split is
    damaged or not the one that `dataset.json` names.
    """
    torch.set_num_threads(1)  # One frame after the other gains nothing by more.
    facts = io.read_json(dataset)
    checksums = {name: part["sha256"] for name, part in facts["splits"].items()}
    split = read_split(test, patch_px=facts["patch_px"], sha256=checksums["test"])
    made, patches_nCHW = _reconstruct_images(str(test), split, settings)
    patches_nHWC = np.ascontiguousarray(np.moveaxis(patches_nCHW, 1, -1))
    io.write_npz(outputs["patches"], {"best": patches_nHWC, "last": patches_nHWC})
    objects: dict[str, NDArray[Any]] = {}
    for image, one in made.items():
        objects[f"origin_{image}"] = np.array(one.origin)
        for number, object_YX in one.snapshots.items():
            objects[f"object_{image}_iteration_{number}"] = object_YX
    io.write_npz(outputs["objects"], objects)
    record = {
        "dataset": facts["dataset"],
        "arm": "rpie",
        "settings": settings.model_dump(mode="json"),
        "seed": settings.seed,
        "dataset_sha256": checksums,
        "outcome": "completed",
        # What a training run has, and has no meaning here.
        **dict.fromkeys(("failure", "best_val_loss", "last_val_loss", "best_mae_val_loss")),
        **_course(list(made.values())),
        **_machine(),
    }
    io.write_json(outputs["run"], record)
    logger.info("R factor %.5g after %d iterations", record["error"][-1], settings.iterations)


def _reconstruct_images(
    test: str, split: Split, settings: ConventionalSettings
) -> tuple[dict[int, Reconstruction], NDArray[np.complex64]]:
    """Return each image of a split, and what it shows of each frame's window, (n, C, H, W)."""
    corners_nC2, image_n = split.corners_nC2, split.arrays["image_index"]
    assert corners_nC2 is not None, "the study's own splits have positions"
    observed = split.diffraction_nCHW
    patches = np.empty_like(observed, np.complex64)
    made: dict[int, Reconstruction] = {}
    for image in np.unique(image_n).tolist():
        mine = image_n == image
        corners = corners_nC2[mine].reshape(-1, 2).astype(np.float64)
        scan = Scan(
            source=f"{test}, image {image}",
            amplitude_nHW=observed[mine].reshape(-1, *observed.shape[2:]),
            positions_n2=corners,
            probe_MHW=split.probe_MHW,
        )
        one = made[image] = reconstruct(scan, settings, snapshots=settings.scored_iterations)
        whole = np.rint(corners).astype(int) - np.array(one.origin)
        shown = object_patches(one.object_YX[None], whole, np.array(0), scan.patch_px)
        patches[mine] = shown.reshape(patches[mine].shape)
    return made, patches
