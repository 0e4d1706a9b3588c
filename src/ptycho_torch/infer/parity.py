"""Parity: training and inference of one bundle agree, and so do two ways of stitching.

Letters: n groups, C patches of a group, P = n C patches, B the first patches of all groups, I
images, H rows, W columns of a patch, Y rows, X columns of a stitched image.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import ParitySettings
from ptycho_torch.data.scales import NUMBERS, Scales
from ptycho_torch.files import io
from ptycho_torch.files.io import read_result
from ptycho_torch.infer.compare import compare, comparison_text
from ptycho_torch.infer.dump import Dump, read_dump, write_dump
from ptycho_torch.physics.stitch import (
    object_patches,
    patch_positions,
    reassemble,
    stitch_tiles,
    tile_extent,
)
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.templates import render

logger = logging.getLogger(__name__)

FORMAT = "ptycho-torch parity 1"
TRUTH_BOUND = 1e-5
"""Noise-free patches stitch to one object either way; complex64 leaves 1e-7 of it."""


class _TestSplit:
    """What the test split's patches should show, and where.

    corners_nC2: of all patches; positions_B2, image_B: of the first of each group; light_HW: probe
    intensity; tile_px: side of a central tile; truth_BHW: noise-free patches.
    """

    def __init__(self, test: io.PathLike, dataset: io.PathLike) -> None:
        keys = ("coords_offsets", "coords_nominal", "image_index", "YY_full", "probeGuess")
        offsets, nominal, image, objects, probe = io.read_npz(test, *keys).values()
        self.corners_nC2 = np.swapaxes((offsets + nominal)[:, 0].astype(np.float64), 1, 2)
        self.positions_B2, self.image_B = patch_positions(offsets, nominal), image.astype(np.int64)
        self.side_px = probe.shape[-1]
        modes = np.square(np.abs(probe.reshape(-1, self.side_px, self.side_px)))
        self.light_HW = modes.sum(axis=0).astype(np.float64)
        self.tile_px = int(read_result(dataset, "tiles")["test_step_px"])
        places = self.positions_B2, self.image_B
        self.truth_BHW = object_patches(objects[..., 0], *places, self.side_px)

    def stitched(self, patches_BHW: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return images, (I, Y, X), from central tiles, and of the same part from whole patches
        weighted by the light."""
        places = self.positions_B2, self.image_B
        tiles = stitch_tiles(patches_BHW, *places, self.tile_px)
        return tiles, reassemble(patches_BHW, *places, self.light_HW, self.tile_px)


def _training_dump(
    split: _TestSplit, *, run: io.PathLike, dataset: io.PathLike, patches: io.PathLike
) -> Dump:
    """Return what training predicted with its best weights, and the scales of its module."""
    record, facts = io.read_json(run), io.read_json(dataset)
    patches_nCHW = np.moveaxis(io.read_npz(patches, "best")["best"], -1, 1)
    side = split.side_px
    expected = (*split.corners_nC2.shape[:2], side, side)
    if patches_nCHW.shape != expected:
        raise InputError(
            f"{patches}: 'best' holds {patches_nCHW.shape} groups, patches and pixels, the test "
            f"split {expected}; it belongs to another dataset: train again"
        )
    try:
        learned = record["settings"]["training"]["intensity_scale"] == "learned"
        scales = Scales(
            input_scale=record["input_scale"],
            intensity_scale=record["intensity_scale"]["best"],
            intensity_scale_source="learned" if learned else "of the training data",
            norm_Y_I=(norm := facts["splits"]["train"]["norm_Y_I"]),
        )
    except KeyError as error:
        raise InputError(f"{run} or {dataset}: lacks {error}; make it again") from None
    part = tile_extent(split.positions_B2, side, split.tile_px)
    _, whole = split.stitched(patches_nCHW[:, 0])
    return Dump(
        stitched_IYX=(whole * norm).astype(np.complex64),
        made_by=f"training of {record['arm']}, seed {record['seed']}, on {record['dataset']}: its "
        "best weights on the test split",
        scales=scales,
        origin_2=np.array([part[0].start, part[1].start], np.float64),
        patches_PHW=patches_nCHW.reshape(-1, side, side),
        positions_P2=split.corners_nC2.reshape(-1, 2),
        image_P=np.repeat(split.image_B, expected[1]),
        source=str(patches),
    )


def report_parity(
    *,
    run: io.PathLike,
    dataset: io.PathLike,
    test: io.PathLike,
    patches: io.PathLike,
    inference: io.PathLike,
    settings: Mapping[str, Any],
    folder: io.PathLike,
) -> None:
    """Write the training's dump into `training/`, and the report, whatever it says, from
    `run.json`, `dataset.json`, `test.npz`, `test_patches.npz`, the folder of the inference's dump
    and `ParitySettings`; `InputError` if files lack something or do not belong together."""
    from ptycho_torch.infer.pictures import draw_objects, save_png

    folder, limits = Path(folder), ParitySettings.model_validate(dict(settings))
    split = _TestSplit(test, dataset)
    dump = _training_dump(split, run=run, dataset=dataset, patches=patches)
    write_dump(folder / "training", dump)
    # Read back, so that what is compared is what anybody can compare again.
    training = read_dump(folder / "training")
    comparison, aligned = compare(training, read_dump(inference), tolerance=limits.tolerance)
    tiles, whole = split.stitched(np.asarray(training.patches_PHW)[:: split.corners_nC2.shape[1]])
    stitching = amplitude_difference(tiles, whole)
    of_truth = amplitude_difference(*split.stitched(split.truth_BHW))
    checks = _checks(comparison, limits, stitching, of_truth)
    failed = [*comparison["failed"], *(check["name"] for check in checks if not check["passed"])]
    headline = "passed: training and inference agree, and so do both ways of stitching"
    record = io.read_json(run)
    report = {
        "format": FORMAT,
        "passed": not failed,
        "failed": failed,
        "headline": f"FAILED: {', '.join(failed)}" if failed else headline,
        "run": {key: record[key] for key in ("dataset", "arm", "seed", "outcome")},
        "settings": limits.model_dump(mode="json"),
        "checks": checks,
        "comparison": comparison,
    }
    for name, (a, b), titles in (
        ("parity", aligned, ("A, training", "B, inference")),
        ("stitching", (tiles, whole), ("A, central tiles", "B, whole patches")),
    ):
        images = dict(zip(titles, (a[0], b[0]), strict=True))
        save_png(folder / f"{name}.png", draw_objects(images, difference=True))
    text, reason = comparison_text(comparison, "##"), comparison["patches"]["reason"]
    page = render("infer", "parity.md.j2", **report, text=text, reason=reason)
    io.write_text(folder / "parity.md", page)
    io.write_json(folder / "parity.json", report)
    logger.info("parity %s", report["headline"])


def _checks(
    comparison: dict[str, Any],
    limits: ParitySettings,
    stitching: float | None,
    of_truth: float | None,
) -> list[dict[str, Any]]:
    """Return what must agree more closely than two programs: two ways through one program."""
    checks = []
    # Groups of several patches are formed again by inference, and then no patch has a partner.
    if comparison["patches"]["reason"] is None:
        worst = comparison["patches"]["worst"]
        error = worst[0]["error"] if worst else None
        meaning = "training and inference, largest ||A - B|| / ||A|| of a patch"
        checks.append(_check("patches_to_rounding", error, limits.rounding, meaning))
    ratios = [q["value"] for q in comparison["quantities"] if q["name"] in NUMBERS]
    off = None if None in ratios else max(abs(ratio - 1) for ratio in ratios)
    meaning = "training and inference, largest deviation of a scale's ratio from 1"
    checks.append(_check("scales_to_rounding", off, limits.rounding, meaning))
    meaning = (
        "central tiles and whole patches of the trained run: mean difference of the amplitudes "
        "over their mean"
    )
    checks.append(_check("stitching", stitching, limits.reassembly, meaning))
    meaning = "the same of noise-free patches of the true object"
    checks.append(_check("stitching_of_the_truth", of_truth, TRUTH_BOUND, meaning))
    return checks


def _check(name: str, value: float | None, bound: float, meaning: str) -> dict[str, Any]:
    passed = value is not None and value <= bound
    return {"name": name, "value": value, "bound": bound, "meaning": meaning, "passed": passed}


def amplitude_difference(first_IYX: NDArray[Any], second_IYX: NDArray[Any]) -> float | None:
    """Return mean | |A| - |B| | / mean |A| where both are known; None if not defined."""
    finite = np.isfinite(first_IYX) & np.isfinite(second_IYX)
    first, second = np.abs(first_IYX[finite]), np.abs(second_IYX[finite])
    if not finite.any() or not first.mean() > 0:
        return None
    return float(np.abs(first - second).mean() / first.mean())


def require_parity(report: io.PathLike, passed: io.PathLike) -> None:
    """Write `passed` if a report says that all agreed; else `InputError` says what failed, and
    where to read it."""
    facts = io.read_json(report)
    if facts["passed"] is not True:
        raise InputError(
            f"{report}: parity {facts['headline']}; {Path(report).with_name('parity.md')} has the "
            "numbers"
        )
    io.write_text(passed, f"{facts['headline']}\n")
