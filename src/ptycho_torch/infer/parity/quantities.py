"""What two dumps are compared by, and whether each quantity passes.

Letters: I images, Y rows, X columns. A is the reference; a ratio is B's value over A's.
"""

import math
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


def scale_quantities(first: Dump, second: Dump, tolerance: float) -> list[Quantity]:
    """Return the ratios of the scales in force."""
    return [
        _ratio(name, getattr(first.scales, name), getattr(second.scales, name), tolerance)
        for name in NUMBERS
    ]


def variance_quantities(
    first: Dump, second: Dump, tolerance: float, *, free_scale: bool
) -> list[Quantity]:
    """Return the ratios of mean and median `var_zero_mean` over the patches.

    With a free scale each patch's variance is taken relative to its mean square.
    """
    found = []
    for block in ("amplitude", "complex"):
        values = [_variances(dump, block, free_scale) for dump in (first, second)]
        if block == "complex" and (values[0] is None or values[1] is None):
            continue  # Amplitudes alone were dumped, which is said where they are aligned.
        for name, take in (("mean", np.mean), ("median", np.median)):
            a, b = (None if v is None else _over(take, v) for v in values)
            found.append(_ratio(f"{block}_var_zero_mean_{name}", a, b, tolerance))
    return found


def _variances(dump: Dump, block: str, free_scale: bool) -> NDArray[np.float64] | None:
    names = (dump.statistics or {}).get(block, {})
    variance = names.get("var_zero_mean")
    if variance is None or not free_scale:
        return variance
    if block == "complex":
        return names.get("relative_variance")
    mean = names.get("mean")
    with np.errstate(invalid="ignore", divide="ignore"):
        return None if mean is None else variance / (np.square(mean) + variance)


def _over(take: Any, values: NDArray[np.float64]) -> float:
    # A patch that is not finite must not be left out in silence: the quantity has no value then.
    return float(take(values)) if values.size else math.nan


def _ratio(name: str, a: float | None, b: float | None, tolerance: float) -> Quantity:
    limit = f"within 1 ± {tolerance:g}"
    missing = [letter for letter, value in (("A", a), ("B", b)) if value is None]
    if a is None or b is None:
        reason = f"{' and '.join(missing)} {'do' if len(missing) > 1 else 'does'} not give it"
        return Quantity(
            name=name, kind="ratio", value=None, status="not judged", limit=limit,
            a=a, b=b, reason=reason,
        )  # fmt: skip
    values = {"A": a, "B": b}
    broken = [letter for letter, value in values.items() if not math.isfinite(value)]
    if broken or a == 0:
        why = f"{' and '.join(broken)} not finite" if broken else "A is zero"
        return Quantity(
            name=name, kind="ratio", value=None, status="fail", limit=limit,
            a=_finite(a), b=_finite(b), reason=f"not defined: {why}",
        )  # fmt: skip
    ratio = b / a
    status: Status = "pass" if _within(abs(ratio - 1), tolerance) else "fail"
    return Quantity(name=name, kind="ratio", value=ratio, status=status, limit=limit, a=a, b=b)


def image_quantities(pair: Pair, tolerance: float, *, free_scale: bool) -> list[Quantity]:
    """Return scale, MAE and SSIM of the stitched images.

    MAE is relative to A's mean amplitude; SSIM's range is A's. An image that is constant, not
    finite or without a pixel in common cannot be judged, and what cannot be judged has not passed.
    """
    scale = _ratio("stitched_rms", *pair.rms, tolerance)
    if free_scale:
        scale = Quantity(
            name=scale.name, kind="ratio", value=scale.value, status="not judged",
            limit=scale.limit, a=scale.a, b=scale.b, reason="the scale is free",
        )  # fmt: skip
    first, second = np.abs(pair.first_IYX), np.abs(pair.second_IYX)
    found = [
        scale,
        _error("amplitude_mae", first, second, tolerance),
        _similarity("amplitude_ssim", first, second, tolerance),
    ]
    if np.iscomplexobj(pair.first_IYX):
        found.append(_error("complex_mae", pair.first_IYX, pair.second_IYX, tolerance))
    return found


def _error(name: str, first: NDArray[Any], second: NDArray[Any], tolerance: float) -> Quantity:
    limit = f"at most {tolerance:g} of A's mean amplitude"
    reason = _unusable(first)
    if reason:
        return Quantity(
            name=name, kind="error", value=None, status="fail", limit=limit, reason=reason
        )
    finite = np.isfinite(first)
    mean = float(np.abs(first[finite]).mean())
    value = float(np.abs(second[finite] - first[finite]).mean()) / mean
    status: Status = "pass" if _within(value, tolerance) else "fail"
    return Quantity(name=name, kind="error", value=value, status=status, limit=limit)


def _similarity(name: str, first: NDArray[Any], second: NDArray[Any], tolerance: float) -> Quantity:
    limit = f"at least {1 - tolerance:g}"
    reason = _unusable(first)
    numbers: list[float] = []
    for a, b in zip(first, second, strict=True) if reason is None else ():
        score = _ssim(a, b)
        if isinstance(score, str):
            reason = score
            break
        numbers.append(score)
    if reason:
        return Quantity(
            name=name, kind="similarity", value=None, status="fail", limit=limit, reason=reason
        )
    value = float(np.mean(numbers))
    status: Status = "pass" if _within(1 - value, tolerance) else "fail"
    return Quantity(name=name, kind="similarity", value=value, status=status, limit=limit)


def _unusable(first: NDArray[Any]) -> str | None:
    finite = np.isfinite(first)
    if not finite.any():
        return "not defined: no pixel is known in both"
    if not np.abs(first[finite]).any():
        return "not defined: A is zero everywhere"
    return None


def _ssim(first_YX: NDArray[np.float64], second_YX: NDArray[np.float64]) -> float | str:
    """Return the SSIM over the windows that lie wholly in what both know, or why there is none."""
    finite = np.isfinite(first_YX)
    if min(first_YX.shape) < _WINDOW_PX:
        return f"not defined: SSIM needs images of {_WINDOW_PX} px or more"
    inside = scipy.ndimage.minimum_filter(finite, size=_WINDOW_PX, mode="constant", cval=0)
    if not inside.any():
        return f"not defined: no window of {_WINDOW_PX} px is known in both"
    kept = first_YX[finite]
    if kept.std() <= _FLAT * kept.max():
        return "not defined: A is constant"
    _, scores = skimage.metrics.structural_similarity(
        np.where(finite, first_YX, 0.0), np.where(finite, second_YX, 0.0),
        data_range=float(np.ptp(kept)), win_size=_WINDOW_PX, full=True,
    )  # fmt: skip
    return float(scores[inside].mean())


def _within(deviation: float, tolerance: float) -> bool:
    # A ratio of exactly 1.1 is within 1 ± 0.1, whatever binary fractions make of it.
    return deviation <= tolerance * (1 + 1e-9)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
