"""Where patches lie, what they show of an object, and how they become one image.

Stitching is by central tiles, or by whole patches.

Letters: B patches, I images, H rows, W columns. Positions are the (row, column) of a patch's
upper left corner in its image, whole pixels.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ptycho_torch.physics.predict import illuminated
from ptycho_torch.runtime.errors import InputError

# How far from a whole pixel a position may be: float32 rounding, not a sub-pixel scan.
_WHOLE_PIXEL = 1e-3
# No image is wider than this; a position beyond it is a mistake of units.
_FARTHEST = 1e6
# Whole patches say nothing where the summed illumination is under this fraction of its maximum.
_DARK = 1e-9


def patch_positions(
    coords_offsets: NDArray[np.floating], coords_nominal: NDArray[np.floating]
) -> NDArray[np.int64]:
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
    wrong = ~(np.abs(exact - whole) <= _WHOLE_PIXEL) | (whole < 0) | (whole > _FARTHEST)
    if wrong.any():
        patch = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise InputError(
            f"patch {patch} lies at {tuple(exact[patch].tolist())}; stitching needs positions of "
            "whole pixels, >= 0: round them before making the file, or scan on whole pixels"
        )
    return whole.astype(np.int64)


def object_patches(
    objects_IYX: NDArray[Any], corners_2: NDArray[np.integer], image: NDArray[Any], side_px: int
) -> NDArray[Any]:
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


def tile_start(patch_px: int, tile_px: int) -> int:
    """Return the first row, and column, of a patch's central tile; `InputError` if none fits."""
    if not 0 < tile_px <= patch_px:
        raise InputError(f"tiles of {tile_px} px do not fit patches of {patch_px} px")
    return (patch_px - tile_px) // 2


def tile_extent(
    positions_B2: NDArray[np.int64], patch_px: int, tile_px: int
) -> tuple[slice, slice]:
    """Return the rows and the columns of the object that the central tiles cover."""
    start = tile_start(patch_px, tile_px)
    low = positions_B2.min(axis=0) + start
    high = positions_B2.max(axis=0) + start + tile_px
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def stitch_tiles(
    patches_BHW: NDArray[np.complexfloating],
    positions_B2: NDArray[np.int64],
    image_B: NDArray[np.integer],
    tile_px: int,
) -> NDArray[np.complex128]:
    """Stitch the central `tile_px` x `tile_px` of each patch; tiles that overlap are averaged.

    Returns (I, rows, columns) of `tile_extent`; `image_B` says which image a patch belongs to.
    `InputError` if the tiles leave holes.
    """
    patch_px = patches_BHW.shape[-1]
    rows, columns = tile_extent(positions_B2, patch_px, tile_px)
    first = tile_start(patch_px, tile_px)
    inner = slice(first, first + tile_px)
    shape = (int(image_B.max()) + 1, rows.stop - rows.start, columns.stop - columns.start)
    corners_B2 = positions_B2 - positions_B2.min(axis=0)
    corner_B = (image_B * shape[1] + corners_B2[:, 0]) * shape[2] + corners_B2[:, 1]
    pixel = np.arange(tile_px)
    # Where each pixel of each tile falls in the images, as one flat index.
    place = (corner_B[:, None] + (pixel[:, None] * shape[2] + pixel).ravel()).ravel()
    tiles = patches_BHW[:, inner, inner]
    real, imaginary, count = (
        np.bincount(place, part, minlength=np.prod(shape)).reshape(shape)
        for part in (tiles.real.ravel(), tiles.imag.ravel(), None)
    )
    if (count == 0).any():
        raise InputError(
            f"tiles of {tile_px} px leave {int((count == 0).sum())} of {count.size} px of the "
            "stitched image empty; the tile must be the step of a full raster (test_step_px)"
        )
    return np.asarray((real + 1j * imaginary) / count)


def reassemble(
    patches_BHW: NDArray[np.complexfloating],
    positions_B2: NDArray[np.int64],
    image_B: NDArray[np.integer],
    weight_HW: NDArray[np.floating],
    tile_px: int,
) -> NDArray[np.complex128]:
    """Return the weighted mean of whole overlapping patches where the central tiles lie: (I, rows,
    columns) as of `stitch_tiles`; NaN where no patch is illuminated.

    The weight, the probe's intensity, decides alone how well a pixel is known, since what a network
    draws outside the illumination is arbitrary.
    """
    patch_px = patches_BHW.shape[-1]
    size = positions_B2.max(axis=0) + patch_px
    shape = (int(image_B.max()) + 1, int(size[0]), int(size[1]))
    total, weights = np.zeros(shape, np.complex128), np.zeros(shape)
    for patch, (row, column), image in zip(patches_BHW, positions_B2, image_B, strict=True):
        where = (image, slice(row, row + patch_px), slice(column, column + patch_px))
        total[where] += weight_HW * patch
        weights[where] += weight_HW
    covered = (slice(None), *tile_extent(positions_B2, patch_px, tile_px))
    known = illuminated(weights, _DARK)[covered]
    whole = np.full(known.shape, np.nan, np.complex128)
    np.divide(total[covered], weights[covered], out=whole, where=known)
    return whole
