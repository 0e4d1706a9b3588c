"""What two dumps have in common: their images on one canvas, and patches in the same places.

Letters as in `dump`. A is the reference.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files.io import finite_or_none
from ptycho_torch.infer.dump import Dump
from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]
# Positions of patches closer than this are the same, pixels.
_SAME_PX = 0.01
_LISTED = 5


def overlap(first: Dump, second: Dump, notes: list[str]) -> tuple[Array, Array]:
    """Return both dumps' images, cropped to where both lie; origins are taken to whole pixels."""
    a, b = first.stitched_IYX, second.stitched_IYX
    if len(a) != len(b):
        raise InputError(
            f"{second.source}: has {len(b)} stitched images, {first.source} has {len(a)}; only "
            "dumps of the same scan can be compared"
        )
    sizes = f"canvases of {a.shape[1:]} and {b.shape[1:]} px"
    if first.origin_2 is None or second.origin_2 is None:
        if a.shape != b.shape:
            without = first if first.origin_2 is None else second
            raise InputError(f"{without.source}: has no 'origin', which {sizes} need")
        notes.append("origins are not given by both; the canvases are of one size and taken as one")
        return a, b
    exact = second.origin_2 - first.origin_2
    shift = np.rint(exact).astype(int)
    low, high = np.maximum(shift, 0), np.minimum(a.shape[1:], b.shape[1:] + shift)
    if (high <= low).any():
        raise InputError(
            f"{second.source}: lies {exact.tolist()} px from {first.source}; {sizes} have no pixel "
            "in common there; are both origins in pixels?"
        )
    if a.shape != b.shape or exact.any():
        notes.append(
            f"{sizes}, {exact.round(3).tolist()} px apart, were cropped to their overlap of "
            f"{tuple((high - low).tolist())} px"
        )
    a = a[:, low[0] : high[0], low[1] : high[1]]
    low, high = low - shift, high - shift
    return a, b[:, low[0] : high[0], low[1] : high[1]]


def fitted(
    a: Array, b: Array, notes: list[str], free_scale: bool
) -> tuple[tuple[float, float], tuple[Array, Array]]:
    """Return the root mean squares of both, and the images, NaN where not both are known, B turned
    (where the scale is free, and scaled) onto A."""
    known = np.isfinite(a) & np.isfinite(b)
    notes.append(f"{int(known.sum())} of {known.size} px of the overlap are known in both")
    a, b = (np.where(known, image, np.nan).astype(np.complex128) for image in (a, b))
    rms = _rms(a[known]), _rms(b[known])
    for first_YX, second_YX, both in zip(a, b, known, strict=True):
        product = np.vdot(second_YX[both], first_YX[both])
        factor = np.exp(1j * np.angle(product))
        if free_scale:
            factor = product / (np.square(np.abs(second_YX[both])).sum() or np.inf)
        second_YX *= factor
    each = "" if len(a) == 1 else ", image by image"
    if free_scale:
        notes.append(f"B was multiplied by the factor that fits A best{each}: its scale is free")
    else:
        notes.append(f"B was turned by the phase that fits A best{each}; its scale was kept")
    return rms, (a, b)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(np.abs(values)).mean())) if values.size else math.nan


def differing_patches(first: Dump, second: Dump) -> dict[str, Any]:
    """Return the patches that differ most, each turned by its own free phase; for JSON.

    `paired` counts the pairs, `worst` has ||A - B|| / ||A|| after the phase that fits best;
    `reason` says why patches of one number are not the same patch, None: they are.
    """
    a, b = first.patches_PHW, second.patches_PHW
    places, others = first.positions_P2, second.positions_P2
    if a is None or b is None or a.shape != b.shape:
        reason = "not both dumps have patches, as many and as large"
        return {"paired": 0, "reason": reason, "worst": []}
    if places is not None and others is not None and np.abs(places - others).max() > _SAME_PX:
        reason = "patches lie in different places, or in another order"
        return {"paired": 0, "reason": reason, "worst": []}
    errors = np.array([_error(*pair) for pair in zip(a, b, strict=True)])
    # What is not finite differs most of all.
    ranked = np.argsort(-np.where(np.isfinite(errors), errors, np.inf), kind="stable")[:_LISTED]
    worst = [
        {
            "patch": patch,
            "position": None if places is None else places[patch].tolist(),
            "error": finite_or_none(errors[patch]),
        }
        for patch in ranked.tolist()
    ]
    return {"paired": len(a), "reason": None, "worst": worst}


def _error(first_HW: Array, second_HW: Array) -> float:
    a, b = first_HW.astype(np.complex128), second_HW.astype(np.complex128)
    with np.errstate(invalid="ignore", divide="ignore"):
        turned = b * np.exp(1j * np.angle(np.vdot(b, a)))
        return float(np.linalg.norm(a - turned) / np.linalg.norm(a))
