"""Positions of any convention to corners of windows in pixels of the object plane.

Letters: n frames, N side of a frame, Y rows, X columns of the object. Positions are (row, column).
"""

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.raw import Raw, check_array
from ptycho_torch.runtime.errors import InputError

_ORIGINS = {
    "corner": "window's upper left pixel",
    "centre": "window's pixel [N // 2]",
    "middle": "window's centre, from the middle of the object or scan",
}


def corners_of(raw: Raw, reading: ScanConventions, notes: list[str]) -> NDArray[np.float64]:
    """Return the corners of all windows of a file, (row, column) in the object's pixels.

    Raises
    ------
    InputError
        If a position is not finite, or its unit cannot be converted.
    """
    check_array(raw.source, "positions", raw.positions_n2, "real", (len(raw.frames_nHW), 2))
    if not np.isfinite(raw.positions_n2).all():
        first = int(np.flatnonzero(~np.isfinite(raw.positions_n2).all(axis=1))[0])
        raise InputError(f"{raw.source}: the position of frame {first} is not finite")
    side = raw.frames_nHW.shape[-1]
    shape = None if raw.object_YX is None else np.array(raw.object_YX.shape)
    origin = raw.origin if reading.origin == "auto" else reading.origin
    notes.append(f"positions are of the {_ORIGINS[origin]}")
    corners = _in_pixels(raw, reading, notes)
    if raw.layout == "cxi":
        corners = reading.translation_sign * corners
        notes.append(
            f"(row, column) along {'+' if reading.translation_sign > 0 else '-'}translation (y, x);"
            " the other sign fits the frames alone as well, with the twin image"
        )
    if reading.swap_axes:
        corners = corners[:, ::-1]
        notes.append("rows and columns of the positions swapped")
    flips = np.array([reading.flip_rows, reading.flip_columns])
    half = 0.5 * reading.half_pixel
    if origin == "middle":
        # A mirror about the middle is a change of sign there.
        middle = 0 if shape is None else (shape - side) / 2
        corners = np.where(flips, -corners, corners) + half + middle
    else:
        corners = corners + half - (side // 2 if origin == "centre" else 0)
        ends = corners.min(axis=0) + corners.max(axis=0) if shape is None else shape - side
        corners = np.where(flips, ends - corners, corners)
    for axis in np.array(["rows", "columns"])[flips]:
        notes.append(f"{axis} of the positions mirrored")
    if reading.half_pixel:
        notes.append(f"{reading.half_pixel:+d} half pixel added to the positions")
    low = corners.min(axis=0)
    if shape is None and (low < 0).any():
        notes.append("positions moved by whole pixels to start at 0; the file has no object")
        corners = corners - np.where(low < 0, np.floor(low), 0)
    return np.ascontiguousarray(corners)


def _in_pixels(raw: Raw, reading: ScanConventions, notes: list[str]) -> NDArray[np.float64]:
    """Return positions in pixels of the object plane."""
    if (raw.units if reading.units == "auto" else reading.units) == "pixels":
        return raw.positions_n2
    pixel = raw.pixel_m if reading.pixel_m is None else (reading.pixel_m, reading.pixel_m)
    if pixel is None:
        raise InputError(
            f"{raw.source}: positions in metres cannot be converted to pixels: "
            f"{raw.pixel_missing}; give --pixel-m, the side of a pixel of the object plane, or "
            "--units pixels"
        )
    notes.append(f"positions from metres to pixels of {pixel[0]:.6g} x {pixel[1]:.6g} m")
    return raw.positions_n2 / np.array(pixel)


def check_repeats(source: str, positions_n2: NDArray[np.float64], notes: list[str]) -> None:
    """Refuse a scan that does not move; note where a few positions are repeated."""
    places = len(np.unique(positions_n2, axis=0))
    repeats = len(positions_n2) - places
    if repeats > places or (repeats and places == 1):
        raise InputError(
            f"{source}: {len(positions_n2)} frames have only {places} distinct positions, so most "
            "are duplicates; are these the right coordinates? average repeated exposures first"
        )
    if repeats:
        notes.append(f"{repeats} frames repeat an earlier position: taken as repeated exposures")
