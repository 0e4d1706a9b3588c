"""What two dumps are compared by, and whether each quantity passes.

Letters: I images, Y rows, X columns. A is the reference; a ratio is B's value over A's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy
import skimage
from numpy.typing import NDArray

from ptycho_torch.data.scales import NUMBERS
from ptycho_torch.infer.parity.align import Pair
from ptycho_torch.infer.parity.dump import Dump

Status = Literal["pass", "fail", "not judged"]
# Side of scikit-image's default window: uniform, 7x7.
_WINDOW_PX = 7
# An image is constant if its standard deviation is under this fraction of its largest value.
_FLAT = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One compared number.

    name: as in compare.json; kind: how it is judged; a, b: the values of each, if it has values;
    value: what is judged, None: not defined; limit: in words; reason: why it has no value, or
    is not judged.
    """

    name: str
    kind: Literal["ratio", "error", "similarity"]
    value: float | None
    status: Status
    limit: str
    a: float | None = None
    b: float | None = None
    reason: str | None = None


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
    """
    quantities = [
        _ratio(name, getattr(first.scales, name), getattr(second.scales, name), tolerance)
        for name in NUMBERS
    ]
    for block in ("amplitude", "complex"):
        a, b = (_variances(dump, block, free_scale) for dump in (first, second))
        if block == "complex" and (a is None or b is None):
            continue  # Amplitudes alone were dumped, which is said where they are aligned.
        for name, take in (("mean", np.mean), ("median", np.median)):
            values = [None if v is None else float(take(v)) if v.size else math.nan for v in (a, b)]
            quantities.append(_ratio(f"{block}_var_zero_mean_{name}", *values, tolerance))
    quantities.append(_ratio("stitched_rms", *pair.rms, tolerance, judged=not free_scale))
    amplitudes = np.abs(pair.first_IYX), np.abs(pair.second_IYX)
    quantities.append(_measured("amplitude_mae", "error", _mae, amplitudes, tolerance))
    quantities.append(_measured("amplitude_ssim", "similarity", _ssim, amplitudes, tolerance))
    if np.iscomplexobj(pair.first_IYX):
        images = pair.first_IYX, pair.second_IYX
        quantities.append(_measured("complex_mae", "error", _mae, images, tolerance))
    return quantities


def _variances(dump: Dump, block: str, free_scale: bool) -> NDArray[np.float64] | None:
    names = (dump.statistics or {}).get(block, {})
    if not free_scale or not names:
        return names.get("var_zero_mean")
    if block == "complex":
        return names.get("relative_variance")
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = names["var_zero_mean"]
        return variance / (np.square(names["mean"]) + variance) if "mean" in names else None


def _ratio(
    name: str, a: float | None, b: float | None, tolerance: float, *, judged: bool = True
) -> Quantity:
    given = [(letter, value) for letter, value in (("A", a), ("B", b)) if value is not None]
    value = reason = None
    if a is None or b is None:
        missing = [letter for letter in "AB" if letter not in dict(given)]
        reason = f"{' and '.join(missing)} {'does' if given else 'do'} not give it"
        judged = False
    elif broken := [letter for letter, number in given if not math.isfinite(number)]:
        reason = f"not defined: {' and '.join(broken)} not finite"
    elif a == 0:
        reason = "not defined: A is zero"
    else:
        value = b / a
    if not judged and reason is None:
        reason = "the scale is free"
    passed = value is not None and _within(abs(value - 1), tolerance)
    status: Status = "not judged" if not judged else "pass" if passed else "fail"
    a, b = (v if v is not None and math.isfinite(v) else None for v in (a, b))
    limit = f"within 1 ± {tolerance:g}"
    return Quantity(
        name=name, kind="ratio", value=value, status=status, limit=limit, a=a, b=b, reason=reason
    )


def _measured(
    name: str,
    kind: Literal["error", "similarity"],
    measure: Callable[..., float],
    images: tuple[NDArray[Any], NDArray[Any]],
    tolerance: float,
) -> Quantity:
    limit = f"at most {tolerance:g} of A's mean amplitude"
    if kind == "similarity":
        limit = f"at least {1 - tolerance:g}"
    first, value, reason = images[0], None, None
    finite = np.isfinite(first)
    try:
        if not finite.any():
            raise ValueError("no pixel is known in both")
        if not np.abs(first[finite]).any():
            raise ValueError("A is zero everywhere")
        value = measure(*images)
    except ValueError as error:
        reason = f"not defined: {error}"
    passed = value is not None and _within(value if kind == "error" else 1 - value, tolerance)
    return Quantity(
        name=name, kind=kind, value=value, status="pass" if passed else "fail", limit=limit,
        reason=reason,
    )  # fmt: skip


def _mae(first_IYX: NDArray[Any], second_IYX: NDArray[Any]) -> float:
    difference = np.nanmean(np.abs(second_IYX - first_IYX))
    return float(difference / np.nanmean(np.abs(first_IYX)))


def _ssim(first_IYX: NDArray[np.float64], second_IYX: NDArray[np.float64]) -> float:
    """Return the mean SSIM over the windows that lie wholly in what both know; `ValueError` says
    why there is none."""
    return float(np.mean([_ssim_of(a, b) for a, b in zip(first_IYX, second_IYX, strict=True)]))


def _ssim_of(first_YX: NDArray[np.float64], second_YX: NDArray[np.float64]) -> float:
    finite = np.isfinite(first_YX)
    if min(first_YX.shape) < _WINDOW_PX:
        raise ValueError(f"SSIM needs images of {_WINDOW_PX} px or more")
    inside = scipy.ndimage.minimum_filter(finite, size=_WINDOW_PX, mode="constant", cval=0)
    if not inside.any():
        raise ValueError(f"no window of {_WINDOW_PX} px is known in both")
    known = first_YX[finite]
    if known.std() <= _FLAT * known.max():
        raise ValueError("A is constant")
    _, scores = skimage.metrics.structural_similarity(
        np.where(finite, first_YX, 0.0), np.where(finite, second_YX, 0.0),
        data_range=float(np.ptp(known)), win_size=_WINDOW_PX, full=True,
    )  # fmt: skip
    return float(scores[inside].mean())


def _within(deviation: float, tolerance: float) -> bool:
    # A ratio of exactly 1.1 is within 1 ± 0.1, whatever binary fractions make of it.
    return deviation <= tolerance * (1 + 1e-9)
