"""Parity: training and inference of one bundle agree, and so do two ways of stitching."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import ParitySettings
from ptycho_torch.data.scales import NUMBERS
from ptycho_torch.files import io
from ptycho_torch.infer.parity.compare import compare, comparison_text
from ptycho_torch.infer.parity.dump import read_dump, write_dump
from ptycho_torch.infer.parity.training import TestScan, training_dump
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.templates import render

logger = logging.getLogger(__name__)

FORMAT = "ptycho-torch parity 1"
TRUTH_BOUND = 1e-5
"""Noise-free patches stitch to one object either way; complex64 leaves 1e-7 of it."""

MEANINGS = {
    "patches_to_rounding": "training and inference, largest ||A - B|| / ||A|| of a patch",
    "scales_to_rounding": "training and inference, largest deviation of a scale's ratio from 1",
    "stitching": "central tiles and whole patches of the trained run: mean difference of the "
    "amplitudes over their mean",
    "stitching_of_the_truth": "the same of noise-free patches of the true object",
}


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
    """Write the training's dump into `training/`, and the report, whatever it says.

    Parameters
    ----------
    run, dataset, test, patches
        `run.json`, `dataset.json`, `test.npz`, `test_patches.npz`.
    inference
        The inference's dump, a folder.
    settings
        Of `ParitySettings`.

    Raises
    ------
    InputError
        If files lack something or do not belong together.
    """
    from ptycho_torch.infer.pictures import draw_objects, save_png

    folder = Path(folder)
    limits = ParitySettings.model_validate(dict(settings))
    scan = TestScan.read(test, dataset)
    write_dump(folder / "training", training_dump(scan, run=run, dataset=dataset, patches=patches))
    # Read back, so that what is compared is what anybody can compare again.
    training = read_dump(folder / "training")
    comparison, pair = compare(training, read_dump(inference), tolerance=limits.tolerance)
    predicted = np.asarray(training.patches_PHW)[:: scan.corners_nC2.shape[1]]
    tiles, whole = scan.by_tiles(predicted), scan.by_patches(predicted)
    truth = scan.truth_BHW()
    values = {
        **_rounding(comparison),
        "stitching": amplitude_difference(tiles, whole),
        "stitching_of_the_truth": amplitude_difference(
            scan.by_tiles(truth), scan.by_patches(truth)
        ),
    }
    checks = [_check(name, value, limits) for name, value in values.items()]
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
    for name, images in {
        "parity": {"A, training": pair.first_IYX[0], "B, inference": pair.second_IYX[0]},
        "stitching": {"A, central tiles": tiles[0], "B, whole patches": whole[0]},
    }.items():
        save_png(folder / f"{name}.png", draw_objects(images, difference=True))
    io.write_text(
        folder / "parity.md",
        render("infer", "parity.md.j2", **report, text=comparison_text(comparison, "##"),
               reason=comparison["patches"]["reason"]),
    )  # fmt: skip
    io.write_json(folder / "parity.json", report)
    logger.info("parity %s", report["headline"])


def _check(name: str, value: float | None, limits: ParitySettings) -> dict[str, Any]:
    bounds = {"stitching": limits.reassembly, "stitching_of_the_truth": TRUTH_BOUND}
    bound = bounds.get(name, limits.rounding)
    passed = value is not None and value <= bound
    return {
        "name": name, "value": value, "bound": bound, "passed": passed, "meaning": MEANINGS[name],
    }  # fmt: skip


def amplitude_difference(first_IYX: NDArray[Any], second_IYX: NDArray[Any]) -> float | None:
    """Return mean | |A| - |B| | / mean |A| where both are known; None if not defined."""
    finite = np.isfinite(first_IYX) & np.isfinite(second_IYX)
    first, second = np.abs(first_IYX[finite]), np.abs(second_IYX[finite])
    if not finite.any() or not first.mean() > 0:
        return None
    return float(np.abs(first - second).mean() / first.mean())


def _rounding(comparison: dict[str, Any]) -> dict[str, float | None]:
    """Return how far training and inference are from being the same computation."""
    found: dict[str, float | None] = {}
    # Groups of several patches are formed again by inference, and then no patch has a partner.
    if comparison["patches"]["reason"] is None:
        worst = comparison["patches"]["worst"]
        found["patches_to_rounding"] = worst[0]["error"] if worst else None
    ratios = [q["value"] for q in comparison["quantities"] if q["name"] in NUMBERS]
    known = [abs(ratio - 1) for ratio in ratios if ratio is not None]
    found["scales_to_rounding"] = max(known) if len(known) == len(ratios) else None
    return found


def require_parity(report: io.PathLike, passed: io.PathLike) -> None:
    """Write `passed` if a report says that all agreed.

    Raises
    ------
    InputError
        If it does not; says what failed, and where to read it.
    """
    facts = io.read_json(report)
    if facts.get("format") != FORMAT:
        raise InputError(f"{report}: format is {facts.get('format')!r}, expected {FORMAT!r}")
    if facts["passed"] is not True:
        raise InputError(
            f"{report}: parity {facts['headline']}; {Path(report).with_name('parity.md')} has the "
            "numbers"
        )
    io.write_text(passed, f"{facts['headline']}\n")
