"""Raster scans: where patches lie and what they show.

Letters: n groups, C patches in a group, H rows, W columns. Positions are the (row, column) of a
patch's upper left corner, pixels.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.dataset import ScanSettings
from ptycho_torch.physics.views import object_patches

Number = TypeVar("Number", bound=np.generic)
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class Raster:
    """Groups of patches on a grid.

    corners_n2: corner of each group; nominal_C2: corner of each patch within its group.
    """

    corners_n2: NDArray[np.int64]
    nominal_C2: NDArray[np.int64]


def raster(scan: ScanSettings, *, size_px: int, patch_px: int, step_px: int) -> Raster:
    """Return the groups that fit an object of `size_px`, row by row."""
    offset = scan.group_offset_px if scan.gridsize == 2 else 0
    places = np.arange(0, size_px - patch_px - offset + 1, step_px)
    corners = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    inner = np.arange(scan.gridsize) * scan.group_offset_px
    nominal = np.stack(np.meshgrid(inner, inner, indexing="ij"), axis=-1).reshape(-1, 2)
    return Raster(corners, nominal)


def cut_patches(
    images: NDArray[Number], scan: Raster, patch_px: int, groups: slice = ALL
) -> NDArray[Number]:
    """Return the patches of all images, one image after the other, (n, C, H, W).

    `groups` takes some of the n groups alone.
    """
    a_scan = len(scan.corners_n2)
    image, group = np.divmod(np.arange(len(images) * a_scan)[groups], a_scan)
    places = scan.corners_n2[group][:, None] + scan.nominal_C2
    return object_patches(images, places, image[:, None], patch_px)
