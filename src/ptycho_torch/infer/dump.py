"""A debug dump: what a reconstruction is made of, in a folder that another program can write too.

    dump.json     what it is, who made it, scales; for people, statistics of each patch
    arrays.npz    stitched image; patches and where they lie
    patches.png   some patches, normalised
    stitched.png  the image

Only `format` in dump.json and `stitched` in arrays.npz are needed (docs/reference/files.md); where
patches lie is written for people and other programs, and not read.

Letters: P patches, Y rows, X columns of the stitched image, H rows, W columns of a patch. Positions
are (row, column) of upper left corners, pixels of the object, whatever their origin.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ptycho_torch.config.base import placed
from ptycho_torch.data.patch_statistics import chosen_patches, patch_statistics, statistics_record
from ptycho_torch.data.scan import check_array
from ptycho_torch.data.units import Scales
from ptycho_torch.files import io
from ptycho_torch.files.pictures import draw_objects, draw_patches, save_png
from ptycho_torch.runtime.errors import InputError, printable

FORMAT = "ptycho-torch dump 1"
FACTS, ARRAYS, PATCHES, STITCHED = "dump.json", "arrays.npz", "patches.png", "stitched.png"
DUMP_FILES = (FACTS, ARRAYS, PATCHES, STITCHED)
# Patches in the picture; the arrays and the statistics have them all.
_SHOWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What a training or an inference reconstructed; None: not known.

    stitched_YX: complex object, un-normalised; NaN: not seen; origin_2: position of its first
    pixel, in the coordinates of positions_P2, the corners of the patches; patches_PHW: as the
    network gives them, complex, in units of `norm_Y_I`; source: where it was read from.
    """

    stitched_YX: NDArray[Any]
    scales: Scales
    made_by: str = "unknown"
    origin_2: NDArray[np.float64] | None = None
    patches_PHW: NDArray[Any] | None = None
    positions_P2: NDArray[np.float64] | None = None
    source: str = "dump"


def write_dump(folder: io.PathLike, dump: Dump) -> None:
    """Write a dump into `folder`; dump.json last, so that a torn dump is not one."""
    folder = Path(folder)
    # A dump that is being written over is none until it is whole again.
    (folder / FACTS).unlink(missing_ok=True)
    arrays = {
        "stitched": dump.stitched_YX,
        "origin": dump.origin_2,
        "patches": dump.patches_PHW,
        "positions": dump.positions_P2,
    }
    io.write_npz(folder / ARRAYS, {k: array for k, array in arrays.items() if array is not None})
    save_png(folder / STITCHED, draw_objects({"stitched": dump.stitched_YX}))
    statistics = None
    if dump.patches_PHW is not None:
        chosen = dump.patches_PHW[chosen_patches(len(dump.patches_PHW), _SHOWN)]
        save_png(folder / PATCHES, draw_patches(chosen, total=len(dump.patches_PHW)))
        statistics = statistics_record(patch_statistics(dump.patches_PHW))
    facts = {
        "format": FORMAT,
        "made_by": dump.made_by,
        "scales": dump.scales.model_dump(),
        "arrays_sha256": io.sha256(folder / ARRAYS),
        "patch_statistics": statistics,
    }
    io.write_json(folder / FACTS, facts)


class _Facts(BaseModel):
    """dump.json, as far as it is read."""

    format: Literal["ptycho-torch dump 1"]
    made_by: str = "unknown"
    scales: Scales = Scales()
    arrays_sha256: str | None = None


def read_dump(folder: io.PathLike) -> Dump:
    """Read a dump, ours or another program's, without where its patches lie; `InputError` if it is
    none, of another version, torn or changed."""
    path, arrays_path = Path(folder) / FACTS, Path(folder) / ARRAYS
    found = io.read_json(path)
    with placed(f"{path}: "):
        facts = _Facts.model_validate(found)
    io.must_have(arrays_path, facts.arrays_sha256)
    shapes: dict[str, tuple[str | int, ...]] = {
        "stitched": ("Y", "X"), "patches": ("P", "H", "W"), "origin": (2,),
    }  # fmt: skip
    arrays, _ = io.read_npz_known(arrays_path, *shapes, needed=["stitched"])
    for key, array in arrays.items():
        kind = "real" if key == "origin" else "complex"
        check_array(str(folder), key, array, kind, shapes[key])
        if kind == "complex" and not np.iscomplexobj(array):
            raise InputError(f"{folder}: '{key}' is real; give the complex object")
    origin = arrays.get("origin")
    return Dump(
        stitched_YX=arrays["stitched"],
        made_by=printable(facts.made_by),
        scales=facts.scales,
        origin_2=None if origin is None else origin.astype(np.float64),
        patches_PHW=arrays.get("patches"),
        source=str(folder),
    )
