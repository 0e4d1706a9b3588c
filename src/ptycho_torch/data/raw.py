"""What a layout's reader takes from a file, before any convention is applied.

Letters: n frames, H rows, W columns, M probe modes, Y rows, X columns of the object.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Arrays as they were stored, and what the layout says of them.

    values, zero_frequency, origin: the layout's convention, in force where `Reading` says auto.
    """

    source: str
    layout: Literal["npz", "cxi", "split", "tike"]
    frames_nHW: Array
    positions_n2: NDArray[np.float64]
    """(row, column) of what `origin` says, in `units`."""
    probe_MHW: Array | None = None
    object_YX: Array | None = None
    good_nHW: NDArray[np.bool_] | None = None
    """(1, H, W) or (n, H, W)."""
    intensity_scale: float | None = None
    values: Literal["amplitude", "intensity"] = "amplitude"
    zero_frequency: Literal["centre", "corner"] = "centre"
    origin: Literal["corner", "centre", "middle"] = "corner"
    units: Literal["pixels", "metres"] = "pixels"
    pixel_m: tuple[float, float] | None = None
    """(height, width) of a pixel of the object plane, if the file says so."""
    pixel_missing: str = "the file has no geometry"
    """Why there is no `pixel_m`."""
    certain: bool = False
    """Whether this project wrote the file, so that nothing need be told from the frames."""
    notes: tuple[str, ...] = ()


def real_frames(source: str, name: str, frames: Array) -> Array:
    """Return frames whose type can be a measurement.

    Raises
    ------
    InputError
        If they are complex, text or booleans, or not three axes.
    """
    if frames.dtype.kind == "c":
        raise InputError(
            f"{source}: '{name}' is complex ({frames.dtype}), expected measured amplitudes or "
            "counts, which are real; is it a simulated wave?"
        )
    if frames.dtype.kind not in "fiu":
        raise InputError(f"{source}: '{name}' has type {frames.dtype}, expected real numbers")
    if frames.ndim != 3 or 0 in frames.shape:
        raise InputError(
            f"{source}: '{name}' has shape {frames.shape}, expected (n, N, N) with n, N > 0"
        )
    if frames.shape[1] != frames.shape[2]:
        raise InputError(
            f"{source}: frames of '{name}' are {frames.shape[1]} x {frames.shape[2]} px, expected "
            "squares; cut the square around the direct beam first"
        )
    return frames


def probe_modes(source: str, name: str, probe: Array) -> Array:
    """Return a probe as modes (M, H, W); axes of length one in front are dropped.

    Raises
    ------
    InputError
        If it has no two last axes, or more than one axis of modes.
    """
    _numbers(source, name, probe)
    leading = [side for side in probe.shape[:-2] if side != 1]
    if probe.ndim < 2 or len(leading) > 1 or 0 in probe.shape:
        raise InputError(
            f"{source}: '{name}' has shape {probe.shape}, expected (H, W) or (M, H, W)"
        )
    return probe.reshape(-1, *probe.shape[-2:])


def object_plane(source: str, name: str, thing: Array) -> Array:
    """Return an object as (Y, X); axes of length one in front or behind are dropped.

    Raises
    ------
    InputError
        If it is more than one image.
    """
    _numbers(source, name, thing)
    plane = thing[..., 0] if thing.ndim > 2 and thing.shape[-1] == 1 else thing
    while plane.ndim > 2 and plane.shape[0] == 1:
        plane = plane[0]
    if plane.ndim != 2 or 0 in plane.shape:
        raise InputError(f"{source}: '{name}' has shape {thing.shape}, expected one image (Y, X)")
    return plane


def _numbers(source: str, name: str, array: Array) -> None:
    if array.dtype.kind not in "fiuc":
        raise InputError(f"{source}: '{name}' has type {array.dtype}, expected complex numbers")


def one_axis(source: str, name: str, array: Array) -> NDArray[np.float64]:
    """Return a coordinate or an index as float64 (n,), whole and finite or not.

    Raises
    ------
    InputError
        If it is not real, or has more than one axis longer than one.
    """
    if array.dtype.kind not in "fiu":
        raise InputError(f"{source}: '{name}' has type {array.dtype}, expected real numbers")
    if sum(side != 1 for side in array.shape) > 1:
        raise InputError(f"{source}: '{name}' has shape {array.shape}, expected one axis")
    return array.reshape(-1).astype(np.float64)
