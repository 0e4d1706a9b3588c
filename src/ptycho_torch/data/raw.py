"""What a layout's reader takes from a file, before any convention is applied.

Letters: n frames, H rows, W columns, M probe modes, Y rows, X columns of the object.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]
_KINDS = {"real": "fiu", "complex": "fiuc", "boolean": "b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Arrays as they were stored, and what the layout says of them.

    values, zero_frequency, origin: the layout's convention, in force where `ScanConventions` says
    auto.
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


def check_array(
    source: str, name: str, array: Array, kind: str, *shapes: tuple[str | int, ...]
) -> None:
    """Raise `InputError` unless an array has one of these shapes and a type of the kind.

    Parameters
    ----------
    kind
        `real`, `complex` (or real) or `boolean`.
    shapes
        A side each: a number, or a letter, which stands for any number > 0, everywhere the same.
    """
    if array.dtype.kind in _KINDS[kind] and any(_fits(array.shape, shape) for shape in shapes):
        return
    expected = " or ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
    cure = "; is it a simulated wave?" if kind == "real" and array.dtype.kind == "c" else ""
    raise InputError(
        f"{source}: '{name}' is {array.shape} {array.dtype}, expected {kind} {expected}{cure}"
    )


def _fits(found: tuple[int, ...], expected: tuple[str | int, ...]) -> bool:
    letters: dict[str, int] = {}
    return len(found) == len(expected) and all(
        side > 0 and side == (want if isinstance(want, int) else letters.setdefault(want, side))
        for side, want in zip(found, expected, strict=True)
    )


def probe_modes(source: str, name: str, probe: Array | None) -> Array | None:
    """Return a probe as modes (M, H, W); axes of length one in front are dropped."""
    if probe is None:
        return None
    while probe.ndim > 3 and len(probe) == 1:
        probe = probe[0]
    check_array(source, name, probe, "complex", ("N", "N"), ("M", "N", "N"))
    return probe.reshape(-1, *probe.shape[-2:])


def object_plane(source: str, name: str, thing: Array | None) -> Array | None:
    """Return an object as (Y, X); axes of length one in front or behind are dropped."""
    if thing is None:
        return None
    plane = thing[..., 0] if thing.ndim > 2 and thing.shape[-1] == 1 else thing
    while plane.ndim > 2 and len(plane) == 1:
        plane = plane[0]
    check_array(source, name, plane, "complex", ("Y", "X"))
    return plane
