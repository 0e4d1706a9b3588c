"""Compare two dumps: scales, variances, stitched images; a verdict, its reasons and a picture. And
parity: training and inference of one bundle agree on the test split's first image.

Letters: Y rows, X columns of an image, n groups of C patches, P of all, H rows, W columns of
a patch. A is the reference; a ratio is B's value over A's.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import skimage
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import ParitySettings
from ptycho_torch.data.dataset_file import Split
from ptycho_torch.data.patch_statistics import patch_statistics
from ptycho_torch.data.units import Scales
from ptycho_torch.files import io
from ptycho_torch.files.pictures import draw_objects, save_png
from ptycho_torch.infer.dump import Dump, read_dump, write_dump
from ptycho_torch.physics.stitch import common_windows
from ptycho_torch.runtime.errors import InputError, shown_path
from ptycho_torch.runtime.markdown import render

Array = NDArray[Any]
Images = tuple[Array, Array]

# Side of scikit-image's default window: uniform, 7x7.
_WINDOW_PX = 7
# An image is constant if its standard deviation is under this fraction of its largest value.
_FLAT = 1e-5


def compare(first: Dump, second: Dump, *, tolerance: float) -> tuple[dict[str, Any], Images]:
    """Return the contents of `compare.json`, and the aligned images, (Y, X) each.

    tolerance: what a ratio may deviate from 1, a relative MAE may be, an SSIM may lack to 1.
    `InputError` if the dumps cannot be of one scan.
    """
    (a, b), aligned = _overlap(first, second)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = (np.where(known, image, np.nan).astype(np.complex128) for image in (a, b))
    b *= np.exp(1j * np.angle(np.vdot(b[known], a[known])))
    ours, theirs = _numbers(first, a[known]), _numbers(second, b[known])
    amplitudes = np.abs(a), np.abs(b)
    quantities = [
        *(_ratio(name, ours[name], theirs[name], tolerance) for name in ours),
        _judged("amplitude_mae", "error", _mae(*amplitudes), tolerance),
        _judged("amplitude_ssim", "similarity", _ssim(*amplitudes), tolerance),
        _judged("complex_mae", "error", _mae(a, b), tolerance),
    ]
    failed = [q["name"] for q in quantities if q["status"] == "fail"]
    left = [q["name"] for q in quantities if q["status"] == "not judged"]
    judged = len(quantities) - len(left)
    headline = f"passed in all {judged} quantities that are judged"
    if failed:
        headline = f"FAILED in {len(failed)} of {judged}: {', '.join(failed)}"
    return {
        "passed": not failed,
        "failed": failed,
        "headline": headline + (f"; not judged: {', '.join(left)}" if left else ""),
        "tolerance": tolerance,
        "a": _about(first),
        "b": _about(second),
        "aligned": {**aligned, "known_px": int(known.sum())},
        "quantities": quantities,
    }, (a, b)


def _about(dump: Dump) -> dict[str, Any]:
    source = dump.scales.intensity_scale_source
    folder = shown_path(dump.source)
    return {"folder": folder, "made_by": dump.made_by, "intensity_scale_source": source}


def comparison_text(record: dict[str, Any]) -> str:
    """Return a comparison in Markdown; one with a `run` is parity's."""
    return render("infer", "compare.md.j2", **record)


def write_comparison(
    folder: io.PathLike, record: dict[str, Any], images: Images, name: str = "compare"
) -> None:
    """Write `NAME.json`, `NAME.md` and `NAME.png` into `folder`."""
    folder, shown = Path(folder), dict(zip("AB", images, strict=True))
    save_png(folder / f"{name}.png", draw_objects(shown, difference=True))
    io.write_text(folder / f"{name}.md", comparison_text(record))
    io.write_json(folder / f"{name}.json", record)


def _overlap(first: Dump, second: Dump) -> tuple[Images, dict[str, Any]]:
    """Return both dumps' images, cropped to where both lie, and how they lie; origins are taken to
    whole pixels, and canvases of one size without them as one."""
    a, b = first.stitched_YX, second.stitched_YX
    sizes = f"canvases of {a.shape} and {b.shape} px"
    apart = None
    if first.origin_2 is not None and second.origin_2 is not None:
        apart = second.origin_2 - first.origin_2
    elif a.shape != b.shape:
        without = first if first.origin_2 is None else second
        raise InputError(f"{without.source}: has no 'origin', which {sizes} need")
    shift = np.rint(np.zeros(2) if apart is None else apart).astype(int)
    here, there = common_windows(a.shape, b.shape, shift)
    if not a[here].size:
        raise InputError(
            f"{second.source}: lies {shift.tolist()} px from {first.source}; {sizes} have no pixel "
            "in common there; are both origins in pixels?"
        )
    how = {
        "canvases_px": [list(a.shape), list(b.shape)],
        "apart_px": None if apart is None else apart.round(3).tolist(),
        "overlap_px": list(a[here].shape),
    }
    return (a[here], b[there]), how


def _numbers(dump: Dump, known: Array) -> dict[str, float | None]:
    """Return the numbers of a dump whose ratios are judged: its scales, the variances of its
    patches, their mean, and the root mean square of its `known` pixels."""
    numbers = dump.scales.model_dump(exclude={"intensity_scale_source"})
    found = None if dump.patches_PHW is None else patch_statistics(dump.patches_PHW)
    for block in ("amplitude", "complex"):
        mean = None if found is None else float(found[block]["var_zero_mean"].mean())
        numbers[f"{block}_var_zero_mean"] = mean
    rms = float(np.sqrt(np.square(np.abs(known)).mean())) if known.size else math.nan
    return {**numbers, "stitched_rms": rms}


def _ratio(name: str, a: float | None, b: float | None, tolerance: float) -> dict[str, Any]:
    """Return the ratio of two numbers with its verdict, if both dumps give the number."""
    numbers = {"a": io.finite_or_none(a), "b": io.finite_or_none(b)}
    if a is None or b is None:
        why = {"status": "not judged", "reason": "not given by both"}
        return {"name": name, "kind": "ratio", "value": None, **why, **numbers}
    return _judged(name, "ratio", b / a if a else math.nan, tolerance) | numbers


def _judged(name: str, kind: str, value: float, tolerance: float) -> dict[str, Any]:
    """Return a value with its verdict; one that is not defined has not passed."""
    deviation = value if kind == "error" else abs(value - 1)
    undefined = "not defined: A is zero, constant, or not known where B is"
    return {
        "name": name,
        "kind": kind,
        "value": io.finite_or_none(value),
        # A ratio of exactly 1.1 is within 1 ± 0.1, whatever binary fractions make of it.
        "status": "pass" if deviation <= tolerance * (1 + 1e-9) else "fail",
        "reason": None if math.isfinite(value) else undefined,
        "a": None,
        "b": None,
    }


def _mae(a: Array, b: Array) -> float:
    """Return the mean difference over A's mean; NaN if A is zero, or nothing is known."""
    known = np.isfinite(a)
    total = float(np.abs(a[known]).sum())
    return float(np.abs(b[known] - a[known]).sum()) / total if total else math.nan


def _ssim(a: Array, b: Array) -> float:
    """Return the mean SSIM, in A's range, over the windows that lie wholly in what both know; NaN
    if there is none, or A is constant."""
    finite = np.isfinite(a)
    known = a[finite]
    inside = scipy.ndimage.binary_erosion(finite, np.ones((_WINDOW_PX, _WINDOW_PX)))
    if not inside.any() or known.std() <= _FLAT * known.max():
        return math.nan
    a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
    span = float(np.ptp(known))
    _, scores = skimage.metrics.structural_similarity(
        a, b, data_range=span, win_size=_WINDOW_PX, full=True
    )
    return float(scores[inside].mean())


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
    and `ParitySettings`; `InputError` if a file is damaged."""
    folder, limits = Path(folder), ParitySettings.model_validate(dict(settings))
    dump = _training_dump(run=run, dataset=dataset, test=test, patches=patches)
    write_dump(folder / "training", dump)
    # Read back, so that what is compared is what anybody can compare again.
    first, second = read_dump(folder / "training"), read_dump(inference)
    comparison, images = compare(first, second, tolerance=limits.tolerance)
    record = io.read_json(run)
    report = {
        "run": {key: record[key] for key in ("dataset", "arm", "seed", "outcome")},
        "settings": limits.model_dump(mode="json"),
        **comparison,
    }
    write_comparison(folder, report, images, "parity")


def require_parity(report: io.PathLike, passed: io.PathLike) -> None:
    """Write `passed` if a report says that all agreed; else `InputError` says what failed."""
    facts = io.read_json(report)
    if facts["passed"] is not True:
        raise InputError(
            f"{report}: parity {facts['headline']}; {Path(report).with_name('parity.md')} has the "
            "numbers"
        )
    io.write_text(passed, f"{facts['headline']}\n")


def _training_dump(
    *, run: io.PathLike, dataset: io.PathLike, test: io.PathLike, patches: io.PathLike
) -> Dump:
    """Return what training predicted with its best weights, stitched as inference does."""
    from ptycho_torch.infer.run import stitch  # With it comes torch.

    record, facts = io.read_json(run), io.read_json(dataset)
    keys = ("coords_offsets", "coords_nominal", "image_index", "probeGuess")
    split = Split(io.read_npz(test, *keys))
    corners_nC2 = np.asarray(split.corners_nC2, np.float64)
    patches_nCHW = np.moveaxis(io.read_npz(patches, "best")["best"], -1, 1)
    norm = facts["splits"]["train"]["norm_Y_I"]
    learned = record["settings"]["training"]["intensity_scale"] == "learned"
    scales = Scales(
        input_scale=record["input_scale"],
        intensity_scale=record["intensity_scale"]["best"],
        intensity_scale_source="learned" if learned else "of the training data",
        norm_Y_I=norm,
    )
    first = split.arrays["image_index"] == 0
    patches_PHW = patches_nCHW[first].reshape(-1, *patches_nCHW.shape[2:])
    positions_P2 = corners_nC2[first].reshape(-1, 2)
    stitched = stitch(patches_PHW, positions_P2, split.probe_MHW)
    return Dump(
        stitched_YX=(stitched.known_YX * norm).astype(np.complex64),
        made_by=f"training of {record['arm']}, seed {record['seed']}, on {record['dataset']}: "
        "its best weights on the test split",
        scales=scales,
        origin_2=stitched.origin_2.astype(np.float64),
        patches_PHW=patches_PHW,
        positions_P2=positions_P2,
    )
