"""What two dumps are compared by, and whether each quantity passes.

Letters: I images, Y rows, X columns. A is the reference; a ratio is B's value over A's.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
import skimage
from numpy.typing import NDArray

from ptycho_torch.data.scales import NUMBERS
from ptycho_torch.infer.parity.align import Pair
from ptycho_torch.infer.parity.dump import Dump

Quantity = dict[str, Any]
# Side of scikit-image's default window: uniform, 7x7.
_WINDOW_PX = 7
# An image is constant if its standard deviation is under this fraction of its largest value.
_FLAT = 1e-5


def compare_quantities(
    first: Dump, second: Dump, pair: Pair, tolerance: float, *, free_scale: bool
) -> list[Quantity]:
    """Return the ratios of scales and of patch variances, and scale, MAE and SSIM of the images.

    MAE is relative to A's mean amplitude; SSIM's range is A's. What is constant, not finite or
    without a pixel in common cannot be judged, and what cannot be judged has not passed.

    Parameters
    ----------
    free_scale
        The images' scale is not judged, and each patch's variance is relative to its mean square.

    Returns
    -------
    list
        Of each: `name`; `kind`: ratio, error or similarity; `value`: what is judged, None: not
        defined; `status`: pass, fail or not judged; `limit`, in words; `a`, `b`: the values of
        each, if it has values; `reason`: why it has no value, or is not judged.
    """
    values: list[tuple[str, Any, Any]] = [
        (name, getattr(first.scales, name), getattr(second.scales, name)) for name in NUMBERS
    ]
    for block in ("amplitude", "complex"):
        a, b = (_variances(dump, block, free_scale) for dump in (first, second))
        if block == "complex" and (a is None or b is None):
            continue  # Amplitudes alone were dumped, as the notes on alignment say.
        for name, take in (("mean", np.mean), ("median", np.median)):
            over = [None if v is None else float(take(v)) if v.size else math.nan for v in (a, b)]
            values.append((f"{block}_var_zero_mean_{name}", over[0], over[1]))
    quantities = [_ratio(*named, tolerance) for named in values]
    rms = _ratio("stitched_rms", *pair.rms, tolerance)
    if free_scale:
        rms |= {"status": "not judged", "reason": "the scale is free"}
    images = pair.first_IYX, pair.second_IYX
    amplitudes = np.abs(images[0]), np.abs(images[1])
    measured = [
        _measured("amplitude_mae", "error", _mae, amplitudes, tolerance),
        _measured("amplitude_ssim", "similarity", _ssim, amplitudes, tolerance),
    ]
    if np.iscomplexobj(images[0]):
        measured.append(_measured("complex_mae", "error", _mae, images, tolerance))
    return [*quantities, rms, *measured]


def _variances(dump: Dump, block: str, free_scale: bool) -> NDArray[np.float64] | None:
    names = (dump.statistics or {}).get(block, {})
    if not free_scale or not names:
        return names.get("var_zero_mean")
    if block == "complex":
        return names.get("relative_variance")
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = names["var_zero_mean"]
        return variance / (np.square(names["mean"]) + variance) if "mean" in names else None


def _ratio(name: str, a: float | None, b: float | None, tolerance: float) -> Quantity:
    given = {letter: number for letter, number in (("A", a), ("B", b)) if number is not None}
    broken = [letter for letter, number in given.items() if not math.isfinite(number)]
    value = reason = None
    if a is None or b is None:
        missing = " and ".join(letter for letter in "AB" if letter not in given)
        reason = f"{missing} {'does' if given else 'do'} not give it"
    elif broken or a == 0:
        reason = (
            f"not defined: {' and '.join(broken)} not finite" if broken else "not defined: A is 0"
        )
    else:
        value = b / a
    found = _judged(name, "ratio", value, tolerance, reason)
    if a is None or b is None:
        found["status"] = "not judged"
    numbers = {letter.lower(): number for letter, number in given.items() if letter not in broken}
    return found | numbers


def _judged(
    name: str, kind: str, value: float | None, tolerance: float, reason: str | None
) -> Quantity:
    limits = {
        "ratio": f"within 1 ± {tolerance:g}",
        "error": f"at most {tolerance:g} of A's mean amplitude",
        "similarity": f"at least {1 - tolerance:g}",
    }
    deviation = math.inf
    if value is not None:
        deviation = {"ratio": abs(value - 1), "error": value, "similarity": 1 - value}[kind]
    # A ratio of exactly 1.1 is within 1 ± 0.1, whatever binary fractions make of it.
    status = "pass" if deviation <= tolerance * (1 + 1e-9) else "fail"
    return {
        "name": name, "kind": kind, "value": value, "status": status, "limit": limits[kind],
        "a": None, "b": None, "reason": reason,
    }  # fmt: skip


def _measured(
    name: str,
    kind: str,
    measure: Callable[..., float],
    images: tuple[NDArray[Any], NDArray[Any]],
    tolerance: float,
) -> Quantity:
    """Judge what `measure` returns; its `ValueError` says why nothing can be measured."""
    known = images[0][np.isfinite(images[0])]
    value = reason = None
    try:
        if not known.any():
            raise ValueError("A is zero everywhere" if known.size else "no pixel is known in both")
        value = measure(*images)
    except ValueError as error:
        reason = f"not defined: {error}"
    return _judged(name, kind, value, tolerance, reason)


def _mae(first_IYX: NDArray[Any], second_IYX: NDArray[Any]) -> float:
    difference = np.nanmean(np.abs(second_IYX - first_IYX))
    return float(difference / np.nanmean(np.abs(first_IYX)))


def _ssim(first_IYX: NDArray[np.float64], second_IYX: NDArray[np.float64]) -> float:
    """Return the SSIM over the windows that lie wholly in what both know, mean over images."""
    values = []
    for first, second in zip(first_IYX, second_IYX, strict=True):
        finite = np.isfinite(first)
        if min(first.shape) < _WINDOW_PX:
            raise ValueError(f"SSIM needs images of {_WINDOW_PX} px or more")
        inside = scipy.ndimage.minimum_filter(finite, size=_WINDOW_PX, mode="constant", cval=0)
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
