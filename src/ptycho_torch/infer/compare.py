"""Compare two dumps: scales, variances, stitched images; a verdict, its reasons and a picture.

Letters: I images, Y rows, X columns. A is the reference; a ratio is B's value over A's.
"""

import math
from collections.abc import Callable
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
    quantities = [_compared(*named, tolerance) for named in (*scales, *sizes)]
    if free_scale:
        for quantity in quantities[len(scales) :]:
            quantity |= {"status": "not judged", "reason": "the scale is free"}
    amplitudes = np.abs(images[0]), np.abs(images[1])
    quantities += [
        _judged("amplitude_mae", "error", tolerance, _mae, *amplitudes),
        _judged("amplitude_ssim", "similarity", tolerance, _ssim, *amplitudes),
    ]
    if np.iscomplexobj(images[0]):
        quantities.append(_judged("complex_mae", "error", tolerance, _mae, *images))
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
        "scales": dump.scales.record(),
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
    blocks = [{} if patches is None else patch_statistics(patches) for patches in dumps]
    values: list[tuple[str, float | None, float | None]] = []
    for block in ("amplitude", "complex"):
        both = [b[block]["var_zero_mean"] if block in b else None for b in blocks]
        if block == "complex" and any(v is None for v in both):
            continue  # Amplitudes alone were dumped, as the notes on alignment say.
        for name, take in (("mean", np.mean), ("median", np.median)):
            a, b = (None if v is None else float(take(v)) for v in both)
            values.append((f"{block}_var_zero_mean_{name}", a, b))
    return values


def _compared(name: str, a: float | None, b: float | None, tolerance: float) -> Quantity:
    """Return B's value over A's, judged; what one of them does not give is not."""
    found = _judged(name, "ratio", tolerance, _ratio, a or 0.0, b or 0.0)
    if a is None or b is None:
        found |= {"value": None, "status": "not judged", "reason": "not given by both"}
    return found | {"a": finite_or_none(a), "b": finite_or_none(b)}


def _judged(
    name: str, kind: str, tolerance: float, measure: Callable[..., float], a: Any, b: Any
) -> Quantity:
    """Return what `measure` finds, with its verdict; where its `ValueError` says why there is no
    value, it has not passed."""
    limit = {
        "ratio": f"within 1 ± {tolerance:g}",
        "error": f"at most {tolerance:g} of A's mean amplitude",
        "similarity": f"at least {1 - tolerance:g}",
    }[kind]
    found: Quantity = {"name": name, "kind": kind, "status": "fail", "limit": limit}
    found |= dict.fromkeys(("value", "a", "b", "reason"))
    try:
        found["value"] = value = measure(a, b)
    except ValueError as error:
        return found | {"reason": f"not defined: {error}"}
    deviation = value if kind == "error" else abs(value - 1)
    # A ratio of exactly 1.1 is within 1 ± 0.1, whatever binary fractions make of it.
    return found | {"status": "pass" if deviation <= tolerance * (1 + 1e-9) else "fail"}


def _ratio(a: float, b: float) -> float:
    if a == 0 or not math.isfinite(a) or not math.isfinite(b):
        raise ValueError("A is 0, or one of them is not finite")
    return b / a


def _must_show(a: Array) -> None:
    known = a[np.isfinite(a)]
    if not known.any():
        raise ValueError("A is zero everywhere" if known.size else "no pixel is known in both")


def _mae(a: Array, b: Array) -> float:
    """Return the mean difference over A's mean."""
    _must_show(a)
    return float(np.nanmean(np.abs(b - a)) / np.nanmean(np.abs(a)))


def _ssim(first_IYX: Array, second_IYX: Array) -> float:
    """Return the mean SSIM, in A's range, over the windows that lie wholly in what both know."""
    _must_show(first_IYX)
    values = []
    for first, second in zip(first_IYX, second_IYX, strict=True):
        finite = np.isfinite(first)
        if min(first.shape) < _WINDOW_PX:
            raise ValueError(f"SSIM needs images of {_WINDOW_PX} px or more")
        inside = scipy.ndimage.binary_erosion(finite, np.ones((_WINDOW_PX, _WINDOW_PX)))
        if not inside.any():
            raise ValueError(f"no window of {_WINDOW_PX} px is known in both")
        known = first[finite]
        if known.std() <= _FLAT * known.max():
            raise ValueError("A is constant")
        _, scores = skimage.metrics.structural_similarity(
            np.where(finite, first, 0.0), np.where(finite, second, 0.0),
            data_range=float(np.ptp(known)), win_size=_WINDOW_PX, full=True,
        )  # fmt: skip
        values.append(float(scores[inside].mean()))
    return float(np.mean(values))
