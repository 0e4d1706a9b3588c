"""Where patches lie, what they show of an object, and how their central tiles become one image.

Letters: B patches, I images, H rows, W columns. Positions are the (row, column) of a patch's
upper left corner in its image, whole pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]
Complex = NDArray[np.complex128]
Whole = NDArray[np.int64]

# How far from a whole pixel a position may be: float32 rounding, not a sub-pixel scan.
_WHOLE_PIXEL = 1e-3


def patch_positions(coords_offsets: Array, coords_nominal: Array) -> Whole:
    """Return the positions of the first channel's patches, (B, 2).

    Coordinates are (B, 1, 2, C), pixels: corner of the group in its image, of the patch in its
    group. `InputError` if the shapes are wrong, or a position is negative or not whole.
    """
    if coords_offsets.shape != coords_nominal.shape or coords_offsets.shape[1:3] != (1, 2):
        raise InputError(
            "coords_offsets and coords_nominal must both be (n, 1, 2, C), got "
            f"{coords_offsets.shape} and {coords_nominal.shape}"
        )
    exact = (coords_offsets[:, 0, :, 0] + coords_nominal[:, 0, :, 0]).astype(np.float64)
    whole = np.rint(exact)
    wrong = ~(np.abs(exact - whole) <= _WHOLE_PIXEL) | (whole < 0)
    if wrong.any():
        patch = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise InputError(
            f"patch {patch} lies at {tuple(exact[patch].tolist())}; stitching needs positions of "
            "whole pixels, >= 0: round them before making the file, or scan on whole pixels"
        )
    return whole.astype(np.int64)


def object_patches(objects_IYX: Array, corners_2: Array, image: Array, side_px: int) -> Array:
    """Return the patches of objects at whole corners, (..., 2), as (..., side, side).

    image: which of the I objects each patch shows; broadcasts with the corners. `ValueError` if a
    patch reaches out of its object.
    """
    space = np.array(objects_IYX.shape[1:]) - side_px
    if corners_2.size and ((corners_2 < 0) | (corners_2 > space)).any():
        raise ValueError(
            f"patches of {side_px} px have corners from {corners_2.min()} to {corners_2.max()}, "
            f"the objects are {objects_IYX.shape[1:]} px"
        )
    windows = sliding_window_view(objects_IYX, (side_px, side_px), axis=(1, 2))
    return np.asarray(windows[image, corners_2[..., 0], corners_2[..., 1]])


def common_windows(
    first: Sequence[int], second: Sequence[int], shift_2: Array
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the windows of two arrays of these shapes that lie on one another, where the second
    starts at `shift_2` of the first, whole pixels of any sign; empty ones where none do."""
    low = np.maximum(shift_2, 0)
    high = np.maximum(np.minimum(first, shift_2 + second), low)
    return tuple(map(slice, low, high)), tuple(map(slice, low - shift_2, high - shift_2))


def tile_start(patch_px: int, tile_px: int) -> int:
    """Return the first row, and column, of a patch's central tile; `InputError` if none fits."""
    if not 0 < tile_px <= patch_px:
        raise InputError(f"tiles of {tile_px} px do not fit patches of {patch_px} px")
    return (patch_px - tile_px) // 2


def tile_extent(positions_B2: Whole, patch_px: int, tile_px: int) -> tuple[slice, slice]:
    """Return the rows and the columns of the object that the central tiles cover."""
    start = tile_start(patch_px, tile_px)
    low = positions_B2.min(axis=0) + start
    high = positions_B2.max(axis=0) + start + tile_px
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def stitch_tiles(patches_BHW: Array, positions_B2: Whole, image_B: Array, tile_px: int) -> Complex:
    """Stitch the central `tile_px` x `tile_px` of each patch; tiles that overlap are averaged.

    Returns (I, rows, columns) of `tile_extent`; `image_B` says which image a patch belongs to.
    `InputError` if the tiles leave holes.
    """
    first = tile_start(patches_BHW.shape[-1], tile_px)
    tiles = patches_BHW[:, first : first + tile_px, first : first + tile_px]
    corners_B2 = positions_B2 - positions_B2.min(axis=0)
    total = _summed(tiles, corners_B2, image_B)
    count = _summed(np.ones(tiles.shape), corners_B2, image_B)
    if (count == 0).any():
        raise InputError(
            f"tiles of {tile_px} px leave {int((count == 0).sum())} of {count.size} px of the "
            "stitched image empty; the tile must be the step of a full raster (test_step_px)"
        )
    return np.asarray(total / count)


def _summed(values_BHW: Array, corners_B2: Whole, image_B: Array) -> Array:
    """Return the sum of square patches where they lie in their images, (I, rows, columns)."""
    side = values_BHW.shape[-1]
    shape = int(image_B.max()) + 1, *(corners_B2.max(axis=0) + side)
    total = np.zeros(shape, np.result_type(values_BHW, np.float64))
    rows_BH, columns_BW = (corner_B[:, None] + np.arange(side) for corner_B in corners_B2.T)
    np.add.at(total, (image_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None]), values_BHW)
    return total
