"""What a debug dump holds, checked: an image, and where known the patches it is made of.

Letters: P patches, I images, Y rows, X columns of a stitched image, H rows, W columns of a patch.
Positions are (row, column) of upper left corners, pixels of the object, whatever their origin.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.patch_statistics import Statistics, patch_statistics
from ptycho_torch.data.scales import Scales
from ptycho_torch.runtime.errors import InputError

UNKNOWN = Scales()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What a training or an inference reconstructed; None: not known.

    Raises
    ------
    InputError
        If the parts do not belong together; names the source and the part.
    """

    stitched_IYX: NDArray[Any]
    """Object, un-normalised: complex, or real where only the amplitude is known; NaN: not seen."""

    made_by: str = "not said"
    """Which program made it, of what; in words."""

    scales: Scales = UNKNOWN
    """In force where it was made."""

    scale_is_free: bool = False
    """The data fix the image up to a factor only, as where the probe was refined."""

    origin_2: NDArray[np.float64] | None = None
    """Position of the stitched image's first pixel, in the coordinates of `positions_P2`."""

    patches_PHW: NDArray[Any] | None = None
    """As the network gives them, in units of `norm_Y_I`; real where only amplitudes are known."""

    positions_P2: NDArray[np.float64] | None = None
    """Corners of the patches."""

    image_P: NDArray[np.int64] | None = None
    """Which stitched image a patch belongs to; None: there is one."""

    statistics: Statistics | None = None
    """Of each patch; worked out from the patches where these are given."""

    source: str = "dump"
    """Where it was read from, for messages."""

    def __post_init__(self) -> None:
        _check_stitched(self)
        _check_patches(self)
        if self.patches_PHW is not None:
            object.__setattr__(self, "statistics", patch_statistics(self.patches_PHW))


def _check_stitched(dump: Dump) -> None:
    image = dump.stitched_IYX
    if image.dtype.kind not in "fiuc" or image.ndim != 3 or 0 in image.shape:
        raise InputError(
            f"{dump.source}: 'stitched' is {image.dtype} {image.shape}, expected numbers (Y, X) or "
            "(images, Y, X), not empty"
        )
    if image.dtype.kind != "c" and (image < 0).any():
        raise InputError(
            f"{dump.source}: 'stitched' is real and has negative values; give the amplitude, >= 0, "
            "or the complex object"
        )
    origin = dump.origin_2
    if origin is not None and (origin.shape != (2,) or not np.isfinite(origin).all()):
        raise InputError(
            f"{dump.source}: 'origin' is {origin.tolist()}, expected two finite numbers: row, "
            "column of the stitched image's first pixel"
        )


def _check_patches(dump: Dump) -> None:
    patches, positions, image = dump.patches_PHW, dump.positions_P2, dump.image_P
    if patches is None:
        if positions is not None or image is not None:
            raise InputError(
                f"{dump.source}: has 'positions' or 'image_index', but no 'patches' to go with it"
            )
        return
    if patches.dtype.kind not in "fiuc" or patches.ndim != 3 or 0 in patches.shape:
        raise InputError(
            f"{dump.source}: 'patches' is {patches.dtype} {patches.shape}, expected numbers "
            "(patches, H, W), not empty"
        )
    if positions is not None and (
        positions.shape != (len(patches), 2) or not np.isfinite(positions).all()
    ):
        raise InputError(
            f"{dump.source}: 'positions' is {positions.shape}, expected {(len(patches), 2)} finite "
            "numbers: row, column of each patch's corner"
        )
    images = len(dump.stitched_IYX)
    if image is not None and (
        image.shape != (len(patches),) or not ((image >= 0) & (image < images)).all()
    ):
        raise InputError(
            f"{dump.source}: 'image_index' is {image.shape}, expected {(len(patches),)} numbers "
            f"from 0 to {images - 1}, since 'stitched' has {images} images"
        )
