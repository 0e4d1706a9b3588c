"""Compare two dumps: scales, variances, stitched images; a verdict, its reasons and a picture.

Letters: I images, Y rows, X columns. A is the reference; a ratio is B's value over A's.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import skimage

from ptycho_torch.data.patch_statistics import patch_statistics
from ptycho_torch.data.scales import NUMBERS
from ptycho_torch.files import io
from ptycho_torch.files.io import finite_or_none
from ptycho_torch.infer.align import Array, differing_patches, fitted, overlap
from ptycho_torch.infer.dump import Dump
from ptycho_torch.infer.pictures import draw_objects, save_png
from ptycho_torch.runtime.errors import shown_path
from ptycho_torch.runtime.templates import render

Quantity = dict[str, Any]

FORMAT = "ptycho-torch comparison 1"
# Side of scikit-image's default window: uniform, 7x7.
_WINDOW_PX = 7
# An image is constant if its standard deviation is under this fraction of its largest value.
_FLAT = 1e-5


def compare(
    first: Dump, second: Dump, *, tolerance: float, free_scale: bool = False
) -> tuple[dict[str, Any], tuple[Array, Array]]:
    """Return the contents of `compare.json`, and the aligned images, (I, Y, X) each.

    tolerance: what a ratio may deviate from 1, a relative MAE may be, an SSIM may lack to 1;
    free_scale: the images' scale is a gauge, as where the probe was refined: fitted, not judged.
    `InputError` if the dumps cannot be of one scan.
    """
    notes: list[str] = []
    rms, images = fitted(*overlap(first, second, notes), notes, free_scale)
    scales = [(name, getattr(first.scales, name), getattr(second.scales, name)) for name in NUMBERS]
    sizes = [*_variances(first, second), ("stitched_rms", *rms)]
    quantities = [_ratio(*named, tolerance) for named in (*scales, *sizes)]
    if free_scale:
        for quantity in quantities[len(scales) :]:
            quantity |= {"status": "not judged", "reason": "the scale is free"}
    amplitudes = np.abs(images[0]), np.abs(images[1])
    quantities += [
        _judged("amplitude_mae", "error", _mae(*amplitudes), tolerance),
        _judged("amplitude_ssim", "similarity", _ssim(*amplitudes), tolerance),
        _judged("complex_mae", "error", _mae(*images), tolerance),
    ]
    failed = [q["name"] for q in quantities if q["status"] == "fail"]
    left = [q["name"] for q in quantities if q["status"] == "not judged"]
    judged = len(quantities) - len(left)
    headline = f"passed in all {judged} quantities that are judged"
    if failed:
        headline = f"FAILED in {len(failed)} of {judged}: {', '.join(failed)}"
    if left:
        headline += f"; not judged: {', '.join(left)}"
    return {
        "format": FORMAT,
        "passed": not failed,
        "failed": failed,
        "headline": headline,
        "tolerance": tolerance,
        "a": _about(first),
        "b": _about(second),
        "aligned": notes,
        "quantities": quantities,
        "patches": differing_patches(first, second),
    }, images


def _about(dump: Dump) -> dict[str, Any]:
    return {
        "folder": shown_path(dump.source),
        "made_by": dump.made_by,
        "scales": dump.scales.model_dump(),
        "stitched": list(dump.stitched_IYX.shape),
    }


def comparison_text(record: dict[str, Any], level: str = "#") -> str:
    """Return a comparison in Markdown, under headings of a level."""
    return render("infer", "compare.md.j2", level=level, **record)


def write_comparison(
    folder: io.PathLike, record: dict[str, Any], images: tuple[Array, Array]
) -> None:
    """Write `compare.json`, `compare.md` and `compare.png`, of the first image, into `folder`."""
    shown = {letter: image_IYX[0] for letter, image_IYX in zip("AB", images, strict=True)}
    figure = draw_objects(shown, difference=True, caption="Aligned images; red: not in both.")
    save_png(Path(folder) / "compare.png", figure)
    io.write_text(Path(folder) / "compare.md", comparison_text(record))
    io.write_json(Path(folder) / "compare.json", record)


def _variances(first: Dump, second: Dump) -> list[tuple[str, float | None, float | None]]:
    """Return mean and median over patches of their variances in both dumps."""
    dumps = (first.patches_PHW, second.patches_PHW)
    found = [None if patches is None else patch_statistics(patches) for patches in dumps]
    values = []
    for block in ("amplitude", "complex"):
        for name, take in (("mean", np.mean), ("median", np.median)):
            a, b = (None if f is None else float(take(f[block]["var_zero_mean"])) for f in found)
            values.append((f"{block}_var_zero_mean_{name}", a, b))
    return values


def _ratio(name: str, a: float | None, b: float | None, tolerance: float) -> Quantity:
    """Return B's value over A's, judged; what one of them does not give is not."""
    if a is None or b is None:
        found = _judged(name, "ratio", math.nan, tolerance)
        found |= {"status": "not judged", "reason": "not given by both"}
    else:
        found = _judged(name, "ratio", b / a if a else math.nan, tolerance)
    return found | {"a": finite_or_none(a), "b": finite_or_none(b)}


def _judged(name: str, kind: str, value: float, tolerance: float) -> Quantity:
    """Return a value with its verdict; one that is not defined has not passed."""
    limit = {
        "ratio": f"within 1 ± {tolerance:g}",
        "error": f"at most {tolerance:g} of A's mean amplitude",
        "similarity": f"at least {1 - tolerance:g}",
    }[kind]
    deviation = value if kind == "error" else abs(value - 1)
    # A ratio of exactly 1.1 is within 1 ± 0.1, whatever binary fractions make of it.
    passed = deviation <= tolerance * (1 + 1e-9)
    known = math.isfinite(value)
    return {
        "name": name,
        "kind": kind,
        "value": finite_or_none(value),
        "status": "pass" if passed else "fail",
        "limit": limit,
        "a": None,
        "b": None,
        "reason": None if known else "not defined: A is zero, constant, or not known where B is",
    }


def _mae(a: Array, b: Array) -> float:
    """Return the mean difference over A's mean; NaN if A is zero, or nothing is known."""
    known = np.isfinite(a)
    total = float(np.abs(a[known]).sum())
    return float(np.abs(b[known] - a[known]).sum()) / total if total else math.nan


def _ssim(first_IYX: Array, second_IYX: Array) -> float:
    """Return the mean SSIM, in A's range, over the windows that lie wholly in what both know; NaN
    if there is none, or A is constant."""
    values = []
    for first, second in zip(first_IYX, second_IYX, strict=True):
        finite = np.isfinite(first)
        known = first[finite]
        inside = scipy.ndimage.binary_erosion(finite, np.ones((_WINDOW_PX, _WINDOW_PX)))
        if not inside.any() or known.std() <= _FLAT * known.max():
            return math.nan
        _, scores = skimage.metrics.structural_similarity(
            np.where(finite, first, 0.0), np.where(finite, second, 0.0),
            data_range=float(np.ptp(known)), win_size=_WINDOW_PX, full=True,
        )  # fmt: skip
        values.append(float(scores[inside].mean()))
    return float(np.mean(values))
