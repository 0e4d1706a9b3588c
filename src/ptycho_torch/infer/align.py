"""What two dumps have in common: their images on one canvas, and which patches are the same.

Letters as in `dump`, and K pairs of patches. A is the reference.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_torch.files.io import finite_or_none
from ptycho_torch.infer.dump import Dump
from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]
# Origins, and positions of patches, closer than this are the same, pixels.
_SAME_PX = 0.01
_LISTED = 5


def overlap(first: Dump, second: Dump, notes: list[str]) -> tuple[Array, Array]:
    """Return both dumps' images, cropped to where both lie."""
    a, b = first.stitched_IYX, second.stitched_IYX
    sizes = f"canvases of {a.shape[1:]} and {b.shape[1:]} px"
    if len(a) != len(b):
        raise InputError(
            f"{second.source}: has {len(b)} stitched images, {first.source} has {len(a)}; only "
            "dumps of the same scan can be compared"
        )
    if first.origin_2 is None or second.origin_2 is None:
        if a.shape != b.shape:
            without = first if first.origin_2 is None else second
            raise InputError(f"{without.source}: has no 'origin', which {sizes} need")
        notes.append("origins are not given by both; the canvases are of one size and taken as one")
        return a, b
    exact = second.origin_2 - first.origin_2
    shift = np.rint(exact).astype(int)
    if (np.abs(exact - shift) > _SAME_PX).any():
        notes.append(
            f"the origins differ by {exact.round(3).tolist()} px, taken as {shift.tolist()}"
        )
    low, high = np.maximum(shift, 0), np.minimum(a.shape[1:], b.shape[1:] + shift)
    if (high <= low).any():
        raise InputError(
            f"{second.source}: lies {exact.tolist()} px from {first.source}; {sizes} have no pixel "
            "in common there; are both origins in pixels?"
        )
    if a.shape != b.shape or shift.any():
        notes.append(
            f"{sizes}, {shift.tolist()} px apart, were cropped to their overlap of "
            f"{tuple((high - low).tolist())} px"
        )
    a = a[:, low[0] : high[0], low[1] : high[1]]
    low, high = low - shift, high - shift
    return a, b[:, low[0] : high[0], low[1] : high[1]]


def fitted(
    a: Array, b: Array, notes: list[str], free_scale: bool
) -> tuple[tuple[float, float], tuple[Array, Array]]:
    """Return the root mean squares of both, and the images, NaN where not both are known: complex,
    B turned (where the scale is free, and scaled) onto A, or both real amplitudes."""
    whole = np.iscomplexobj(a) and np.iscomplexobj(b)
    if np.iscomplexobj(a) != np.iscomplexobj(b):
        notes.append("one image has no phase; amplitudes are compared")
    known = np.isfinite(a) & np.isfinite(b)
    notes.append(f"{int(known.sum())} of {known.size} px of the overlap are known in both")
    if not whole:
        a, b = np.abs(a), np.abs(b)
    precise = np.complex128 if whole else np.float64
    a, b = (np.where(known, image, np.nan).astype(precise) for image in (a, b))
    rms = _rms(a[known]), _rms(b[known])
    for first_YX, second_YX, both in zip(a, b, known, strict=True):
        product = np.vdot(second_YX[both], first_YX[both])
        factor = np.exp(1j * np.angle(product)) if whole else 1.0
        if free_scale:
            factor = product / (np.square(np.abs(second_YX[both])).sum() or np.inf)
        second_YX *= factor
    each = "" if len(a) == 1 else ", image by image"
    if free_scale:
        notes.append(f"B was multiplied by the factor that fits A best{each}: its scale is free")
        notes.append("variances are relative to each patch's mean square")
    elif whole:
        notes.append(f"B was turned by the phase that fits A best{each}; its scale was kept")
    return rms, (a, b)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(np.abs(values)).mean())) if values.size else math.nan


def differing_patches(first: Dump, second: Dump) -> dict[str, Any]:
    """Return the patches that differ most, each turned by its own free phase; for JSON.

    `paired` counts the pairs, `median_error` and `worst` are of ||A - B|| / ||A|| after the phase
    that fits best; `reason` says why patches could not be paired.
    """
    try:
        pairs_K2 = _pairs(first, second)
    except ValueError as error:
        return {"paired": 0, "of": None, "reason": str(error), "median_error": None, "worst": []}
    a, b = np.asarray(first.patches_PHW), np.asarray(second.patches_PHW)
    errors = np.array([_error(a[i], b[j]) for i, j in pairs_K2])
    # What is not finite differs most of all.
    ranked = np.argsort(-np.where(np.isfinite(errors), errors, np.inf), kind="stable")[:_LISTED]
    variances = [(d.statistics or {})["amplitude"]["var_zero_mean"] for d in (first, second)]
    positions, finite = first.positions_P2, errors[np.isfinite(errors)]
    worst = [
        {
            "a": int(i),
            "b": int(j),
            "position": None if positions is None else positions[i].tolist(),
            "error": finite_or_none(error),
            "var_zero_mean": [finite_or_none(variances[0][i]), finite_or_none(variances[1][j])],
        }
        for (i, j), error in zip(pairs_K2[ranked], errors[ranked], strict=True)
    ]
    median = float(np.median(finite)) if finite.size else None
    counts = {"paired": len(pairs_K2), "of": [len(a), len(b)], "reason": None}
    return {**counts, "median_error": median, "worst": worst}


def _pairs(first: Dump, second: Dump) -> NDArray[np.int64]:
    """Return the numbers of the same patches in A and in B, (K, 2); `ValueError` says why there
    are none."""
    a, b = first.patches_PHW, second.patches_PHW
    if a is None or b is None:
        raise ValueError("not both dumps have patches")
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"patches are {a.shape[1:]} and {b.shape[1:]} px")
    in_order = np.repeat(np.arange(len(a)), 2).reshape(-1, 2)
    if first.positions_P2 is None or second.positions_P2 is None:
        if len(a) != len(b):
            raise ValueError("positions are not given by both, and the numbers of patches differ")
        return in_order
    places = [
        np.insert(places_P2, 0, 0 if dump.image_P is None else dump.image_P, axis=1)
        for dump, places_P2 in ((first, first.positions_P2), (second, second.positions_P2))
    ]
    if len(a) == len(b) and np.allclose(places[0], places[1], rtol=0, atol=_SAME_PX):
        return in_order
    tables = [pd.DataFrame(np.rint(place / _SAME_PX).astype(np.int64)) for place in places]
    if any(table.duplicated().any() for table in tables):
        raise ValueError("patches lie in another order, and several share a position")
    both = tables[0].reset_index(names="a").merge(tables[1].reset_index(names="b"))
    if both.empty:
        raise ValueError("no patch of A lies where one of B does")
    return both[["a", "b"]].to_numpy()


def _error(first_HW: Array, second_HW: Array) -> float:
    a, b = first_HW.astype(np.complex128), second_HW.astype(np.complex128)
    if not (np.iscomplexobj(first_HW) and np.iscomplexobj(second_HW)):
        a, b = np.abs(a), np.abs(b)
    with np.errstate(invalid="ignore", divide="ignore"):
        turned = b * np.exp(1j * np.angle(np.vdot(b, a)))
        return float(np.linalg.norm(a - turned) / np.linalg.norm(a))
