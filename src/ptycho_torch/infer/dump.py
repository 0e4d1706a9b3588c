"""A debug dump: what a reconstruction is made of, in a folder that another program can write too.

    dump.json     what it is, who made it, scales, statistics of each patch
    arrays.npz    stitched image; patches and where they lie
    patches.png   some patches, normalised
    stitched.png  the image

Only `format` in dump.json and `stitched` in arrays.npz are needed (docs/reference/files.md).

Letters: P patches, I images, Y rows, X columns of a stitched image, H rows, W columns of a patch.
Positions are (row, column) of upper left corners, pixels of the object, whatever their origin.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from ptycho_torch import __version__
from ptycho_torch.config.base import mistake
from ptycho_torch.data.patch_statistics import (
    Statistics,
    chosen_patches,
    draw_patches,
    patch_statistics,
    statistics_record,
)
from ptycho_torch.data.scales import FIELDS, Scales
from ptycho_torch.data.scan import check_array
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError, printable

FORMAT = "ptycho-torch dump 1"
FACTS, ARRAYS, PATCHES, STITCHED = "dump.json", "arrays.npz", "patches.png", "stitched.png"
DUMP_FILES = (FACTS, ARRAYS, PATCHES, STITCHED)
UNKNOWN = Scales()
_KEYS = ("stitched", "origin", "patches", "positions", "image_index")
# Patches in the picture; the arrays and the statistics have them all.
_SHOWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What a training or an inference reconstructed; None: not known.

    stitched_IYX: object, un-normalised: complex, or real where only the amplitude is known; NaN:
    not seen; scale_is_free: the data fix the image up to a factor only, as where the probe was
    refined; origin_2: position of the image's first pixel, in the coordinates of positions_P2, the
    corners of the patches; patches_PHW: as the network gives them, in units of `norm_Y_I`; image_P:
    which image a patch belongs to, None: there is one; statistics: of each patch, computed where
    patches are given; source: where it was read from. `InputError` if the parts do not belong
    together.
    """

    stitched_IYX: NDArray[Any]
    made_by: str = "unknown"
    scales: Scales = UNKNOWN
    scale_is_free: bool = False
    origin_2: NDArray[np.float64] | None = None
    patches_PHW: NDArray[Any] | None = None
    positions_P2: NDArray[np.float64] | None = None
    image_P: NDArray[np.int64] | None = None
    statistics: Statistics | None = None
    source: str = "dump"

    def __post_init__(self) -> None:
        images, patches, source = self.stitched_IYX, self.patches_PHW, self.source
        if patches is None and (self.positions_P2 is not None or self.image_P is not None):
            raise InputError(f"{source}: has 'positions' or 'image_index', no 'patches'")
        count = 0 if patches is None else len(patches)
        check_array(source, "stitched", images, "complex", ("images", "Y", "X"))
        if images.dtype.kind != "c" and (images < 0).any():
            raise InputError(
                f"{source}: 'stitched' is real and has negative values; give the amplitude, >= 0, "
                "or the complex object"
            )
        if patches is not None:
            check_array(source, "patches", patches, "complex", ("patches", "H", "W"))
            object.__setattr__(self, "statistics", patch_statistics(patches))
        for key, places, shape in (
            ("origin", self.origin_2, (2,)),
            ("positions", self.positions_P2, (count, 2)),
            ("image_index", self.image_P, (count,)),
        ):
            if places is not None:
                check_array(source, key, places, "real", shape)
                if not np.isfinite(places).all():
                    raise InputError(f"{source}: '{key}' is not finite; give pixels")
        if self.image_P is not None and not np.isin(self.image_P, np.arange(len(images))).all():
            raise InputError(f"{source}: 'image_index' is not from 0 to {len(images) - 1}")


class _Claims(BaseModel, extra="ignore"):
    """Statistics of patches, as dump.json may have them: null where one is not finite."""

    amplitude: dict[str, list[float | None]] = {}
    complex: dict[str, list[float | None]] = {}


class _Facts(BaseModel, extra="ignore", strict=True):
    """dump.json, as far as it is read."""

    format: Literal["ptycho-torch dump 1"]
    made_by: str | None = None
    scales: dict[str, Any] | None = None
    scale_is_free: bool = False
    arrays_sha256: str | None = None
    patch_statistics: _Claims | None = None


def write_dump(folder: io.PathLike, dump: Dump) -> None:
    """Write a dump into `folder`; dump.json last, so that a torn dump is not one."""
    from ptycho_torch.infer.pictures import draw_objects, save_png

    folder = Path(folder)
    # A dump that is being written over is none until it is whole again.
    (folder / FACTS).unlink(missing_ok=True)
    arrays = {
        "stitched": _single(dump.stitched_IYX),
        "origin": dump.origin_2,
        "patches": None if dump.patches_PHW is None else _single(dump.patches_PHW),
        "positions": dump.positions_P2,
        "image_index": dump.image_P,
    }
    given = {key: array for key, array in arrays.items() if array is not None}
    io.write_npz(folder / ARRAYS, given)
    images = {f"image {n}": image for n, image in enumerate(dump.stitched_IYX)}
    save_png(folder / STITCHED, draw_objects(images, caption="Red: not seen."))
    if dump.patches_PHW is not None:
        chosen = dump.patches_PHW[chosen_patches(len(dump.patches_PHW), _SHOWN)]
        draw_patches(folder / PATCHES, chosen, total=len(dump.patches_PHW))
    io.write_json(
        folder / FACTS,
        {
            "format": FORMAT,
            "made_by": dump.made_by,
            "ptycho_torch": __version__,
            "scales": dump.scales.record(),
            "scale_is_free": dump.scale_is_free,
            "shapes": {key: list(value.shape) for key, value in given.items()},
            "arrays_sha256": io.sha256(folder / ARRAYS),
            "patch_statistics": dump.statistics and statistics_record(dump.statistics),
        },
    )


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in single precision, as networks work."""
    return array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)


def read_dump(folder: io.PathLike) -> Dump:
    """Read a dump, ours or another program's; `InputError` if it is none, of another version, torn,
    changed, or its parts do not belong together."""
    path, arrays_path = Path(folder) / FACTS, Path(folder) / ARRAYS
    try:
        facts = _Facts.model_validate(io.read_json(path))
    except ValidationError as error:
        raise mistake(path, error) from None
    try:
        scales = Scales(**{key: v for key, v in (facts.scales or {}).items() if key in FIELDS})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    io.must_have(arrays_path, facts.arrays_sha256)
    claims = (facts.patch_statistics or _Claims()).model_dump(exclude_defaults=True)
    statistics = {
        block: {name: np.array(values, np.float64) for name, values in names.items()}
        for block, names in claims.items()
    }
    arrays, present = io.read_npz_known(arrays_path, *_KEYS)
    if "stitched" not in arrays:
        raise InputError(f"{arrays_path}: has no array 'stitched'; it has: {', '.join(present)}")
    for key in {"origin", "positions"} & arrays.keys():
        if arrays[key].dtype.kind in "iu":
            arrays[key] = arrays[key].astype(np.float64)
    stitched = arrays["stitched"]
    return Dump(
        stitched_IYX=stitched[None] if stitched.ndim == 2 else stitched,
        made_by=printable(facts.made_by or "unknown"),
        scales=scales,
        scale_is_free=facts.scale_is_free,
        origin_2=arrays.get("origin"),
        patches_PHW=arrays.get("patches"),
        positions_P2=arrays.get("positions"),
        image_P=arrays.get("image_index"),
        statistics=statistics or None,
        source=str(folder),
    )
