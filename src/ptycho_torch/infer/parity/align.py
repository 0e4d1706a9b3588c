"""Bring two stitched images onto their common part, and remove what the data cannot fix.

Letters: I images, Y rows, X columns. A is the reference.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.runtime.errors import InputError

# Origins further than this from whole pixels of each other are said to be rounded.
_WHOLE_PIXEL = 1e-2
# No canvas is wider than this; an origin beyond it is a mistake of units.
_FARTHEST = 1e7


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two images on one canvas, NaN where not both are known.

    first_IYX, second_IYX: A, and B after the fit; complex, or both real amplitudes; rms: root mean
    square amplitudes of A and of B before the fit, over the common part; known: pixels of it;
    said: what was aligned, in sentences.
    """

    first_IYX: NDArray[Any]
    second_IYX: NDArray[Any]
    rms: tuple[float, float]
    known: int
    said: list[str]


def align(first: Dump, second: Dump, *, free_scale: bool) -> Pair:
    """Return two dumps' images, cropped to their overlap, B turned (and scaled) onto A.

    Parameters
    ----------
    free_scale
        Fit one complex factor per image, where the scale is a gauge; else a phase only.

    Raises
    ------
    InputError
        If the numbers of images differ, or the canvases have no pixel in common.
    """
    if len(first.stitched_IYX) != len(second.stitched_IYX):
        raise InputError(
            f"{second.source}: has {len(second.stitched_IYX)} stitched images, {first.source} has "
            f"{len(first.stitched_IYX)}; only dumps of the same scan can be compared"
        )
    said: list[str] = []
    mine, theirs = _overlap(first, second, said)
    mine, theirs = _same_kind(mine, theirs, said)
    finite = np.isfinite(mine) & np.isfinite(theirs)
    known = int(finite.sum())
    said.append(f"{known} of {finite.size} px of the overlap are known in both")
    mine, theirs = (np.where(finite, image, np.nan) for image in (mine, theirs))
    rms = (_rms(mine), _rms(theirs))
    fitted = np.stack([_fit(a, b, free_scale) for a, b in zip(mine, theirs, strict=True)])
    each = "" if len(mine) == 1 else ", image by image"
    if free_scale:
        said.append(f"B was multiplied by the factor that fits A best{each}: its scale is free")
    elif np.iscomplexobj(mine):
        said.append(f"B was turned by the phase that fits A best{each}; its scale was kept")
    return Pair(first_IYX=mine, second_IYX=fitted, rms=rms, known=known, said=said)


def _overlap(first: Dump, second: Dump, said: list[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    mine, theirs = first.stitched_IYX, second.stitched_IYX
    if first.origin_2 is None or second.origin_2 is None:
        if mine.shape != theirs.shape:
            without = first.source if first.origin_2 is None else second.source
            raise InputError(
                f"{without}: has no 'origin', and the canvases are {mine.shape[1:]} and "
                f"{theirs.shape[1:]} px; give 'origin', or images of the same canvas"
            )
        said.append("origins are not given by both; the canvases are of one size and taken as one")
        return mine, theirs
    exact = second.origin_2 - first.origin_2
    if (np.abs(exact) > _FARTHEST).any():
        raise InputError(
            f"{second.source}: 'origin' lies {exact.tolist()} px from that of {first.source}; are "
            "both in pixels?"
        )
    shift = np.rint(exact).astype(int)
    if (np.abs(exact - shift) > _WHOLE_PIXEL).any():
        said.append(
            f"the origins differ by {exact.round(3).tolist()} px, taken as {shift.tolist()}"
        )
    low = np.maximum(shift, 0)
    high = np.minimum(mine.shape[1:], np.asarray(theirs.shape[1:]) + shift)
    if (high <= low).any():
        raise InputError(
            f"{second.source}: its canvas of {theirs.shape[1:]} px from {second.origin_2.tolist()} "
            f"has no pixel in common with that of {first.source}, {mine.shape[1:]} px from "
            f"{first.origin_2.tolist()}"
        )
    ours = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    other = tuple(slice(int(a), int(b)) for a, b in zip(low - shift, high - shift, strict=True))
    if mine.shape != theirs.shape or shift.any():
        said.append(
            f"canvases of {mine.shape[1:]} and {theirs.shape[1:]} px, {shift.tolist()} px apart, "
            f"were cropped to their overlap of {tuple(int(n) for n in high - low)} px"
        )
    return mine[(slice(None), *ours)], theirs[(slice(None), *other)]


def _same_kind(
    mine: NDArray[Any], theirs: NDArray[Any], said: list[str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both complex, or both as amplitudes, in double precision."""
    if np.iscomplexobj(mine) and np.iscomplexobj(theirs):
        return mine.astype(np.complex128), theirs.astype(np.complex128)
    if np.iscomplexobj(mine) != np.iscomplexobj(theirs):
        said.append("one image has no phase; amplitudes are compared")
    return np.abs(mine).astype(np.float64), np.abs(theirs).astype(np.float64)


def _rms(images_IYX: NDArray[Any]) -> float:
    power = np.square(np.abs(images_IYX[np.isfinite(images_IYX)]))
    return float(np.sqrt(power.mean())) if power.size else float("nan")


def _fit(first_YX: NDArray[Any], second_YX: NDArray[Any], free_scale: bool) -> NDArray[Any]:
    finite = np.isfinite(first_YX)
    product = np.vdot(second_YX[finite], first_YX[finite])
    power = float(np.square(np.abs(second_YX[finite])).sum())
    if free_scale:
        factor = product / power if power > 0 else 1.0
    else:
        factor = np.exp(1j * np.angle(product)) if np.iscomplexobj(first_YX) else 1.0
    fitted: NDArray[Any] = second_YX * factor
    return fitted
