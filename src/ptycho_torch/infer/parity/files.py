"""A debug dump: what a reconstruction is made of, in a folder that another program can write too.

    dump.json     what it is, who made it, scales, statistics of each patch
    arrays.npz    stitched image; patches and where they lie
    patches.png   some patches, normalised
    stitched.png  the image

Only `format` in dump.json and `stitched` in arrays.npz are needed; docs/files.md has the layout.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch import __version__
from ptycho_torch.data.patch_statistics import Statistics, chosen_patches, statistics_record
from ptycho_torch.data.scales import FIELDS, Scales
from ptycho_torch.files import io
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.runtime.errors import InputError, printable

FORMAT = "ptycho-torch dump 1"
FACTS, ARRAYS, PATCHES, STITCHED = "dump.json", "arrays.npz", "patches.png", "stitched.png"
DUMP_FILES = (FACTS, ARRAYS, PATCHES, STITCHED)
KNOWN = ("stitched", "origin", "patches", "positions", "image_index")
SHOWN_PATCHES = 16


def write_dump(folder: io.PathLike, dump: Dump, *, shown: int = SHOWN_PATCHES) -> None:
    """Write a dump into `folder`; dump.json last, so that a torn dump is not one.

    Parameters
    ----------
    shown
        At most so many patches are in the picture; the arrays and the statistics have them all.
    """
    from ptycho_torch.data.patch_picture import draw_patches
    from ptycho_torch.infer.parity.pictures import draw_stitched

    folder = Path(folder)
    # A dump that is being written over is none until it is whole again.
    (folder / FACTS).unlink(missing_ok=True)
    arrays: dict[str, NDArray[Any]] = {"stitched": _single(dump.stitched_IYX)}
    for key, value in (
        ("origin", dump.origin_2),
        ("patches", None if dump.patches_PHW is None else _single(dump.patches_PHW)),
        ("positions", dump.positions_P2),
        ("image_index", dump.image_P),
    ):
        if value is not None:
            arrays[key] = value
    io.write_npz(folder / ARRAYS, arrays)
    draw_stitched(folder / STITCHED, dump.stitched_IYX)
    if dump.patches_PHW is not None:
        chosen = chosen_patches(len(dump.patches_PHW), shown)
        total = len(dump.patches_PHW)
        draw_patches(folder / PATCHES, dump.patches_PHW[chosen], total=total)
    io.write_json(
        folder / FACTS,
        {
            "format": FORMAT,
            "made_by": dump.made_by,
            "ptycho_torch": __version__,
            "scales": dump.scales.record(),
            "scale_is_free": dump.scale_is_free,
            "shapes": {key: list(value.shape) for key, value in arrays.items()},
            "arrays_sha256": io.sha256(folder / ARRAYS),
            "patch_statistics": dump.statistics and statistics_record(dump.statistics),
        },
    )


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in single precision, as networks work."""
    return array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)


def read_dump(folder: io.PathLike) -> Dump:
    """Read a dump, ours or another program's.

    Raises
    ------
    InputError
        If it is none, of another version, torn, changed, or its parts do not belong together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder}: {what}; a dump is a folder with {FACTS} and {ARRAYS}")
    path = folder / FACTS
    facts = io.read_json(path)
    if facts.get("format") != FORMAT:
        raise InputError(
            f"{path}: format is {facts.get('format')!r}, expected {FORMAT!r}; it is no dump, or "
            "one of another version"
        )
    arrays = _read_arrays(folder, facts)
    stitched = arrays["stitched"]
    positions, image = arrays.get("positions"), arrays.get("image_index")
    if image is not None and (
        image.dtype.kind not in "fiu" or not np.array_equal(image, np.rint(image))
    ):
        raise InputError(f"{folder / ARRAYS}: 'image_index' must hold whole numbers")
    return Dump(
        stitched_IYX=stitched[None] if stitched.ndim == 2 else stitched,
        made_by=printable(str(facts.get("made_by") or "not said")),
        scales=_read_scales(path, facts),
        scale_is_free=_read_flag(path, facts, "scale_is_free"),
        origin_2=_real(folder, arrays, "origin"),
        patches_PHW=arrays.get("patches"),
        positions_P2=None if positions is None else _real(folder, arrays, "positions"),
        image_P=None if image is None else image.astype(np.int64),
        statistics=_read_statistics(path, facts),
        source=str(folder),
    )


def _read_arrays(folder: Path, facts: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    path = folder / ARRAYS
    expected = facts.get("arrays_sha256")
    if expected is not None and (found := io.sha256(path)) != expected:
        raise InputError(
            f"{path}: SHA-256 is {found}, {FACTS} says {expected}; the dump is torn or was "
            "changed: make or copy it again"
        )
    present = io.npz_keys(path)
    if "stitched" not in present:
        raise InputError(
            f"{path}: has no array 'stitched', the one that a dump needs; it has: "
            f"{', '.join(present) or 'none'}"
        )
    arrays = io.read_npz(path, *(key for key in KNOWN if key in present))
    shapes = facts.get("shapes") or {}
    for key, shape in shapes.items() if isinstance(shapes, Mapping) else ():
        if key in KNOWN and (key not in arrays or list(arrays[key].shape) != shape):
            got = list(arrays[key].shape) if key in arrays else "missing"
            raise InputError(f"{path}: '{key}' is {got}, {FACTS} says {shape}; the dump is torn")
    return arrays


def _real(folder: Path, arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[np.float64] | None:
    if key not in arrays:
        return None
    if arrays[key].dtype.kind not in "fiu":
        raise InputError(
            f"{folder / ARRAYS}: '{key}' has type {arrays[key].dtype}, expected real numbers"
        )
    return arrays[key].astype(np.float64)


def _read_scales(path: Path, facts: Mapping[str, Any]) -> Scales:
    given = facts.get("scales") or {}
    if not isinstance(given, Mapping):
        raise InputError(f"{path}: 'scales' must be an object of {', '.join(FIELDS)}")
    try:
        return Scales(**{key: given[key] for key in FIELDS if key in given})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_flag(path: Path, facts: Mapping[str, Any], key: str) -> bool:
    value = facts.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f"{path}: '{key}' must be true or false, got {value!r}")
    return value


def _read_statistics(path: Path, facts: Mapping[str, Any]) -> Statistics | None:
    """Return the statistics that a dump claims; they count where it has no patches."""
    given = facts.get("patch_statistics") or {}
    try:
        found = {
            block: {
                name: np.array([np.nan if v is None else float(v) for v in values])
                for name, values in given[block].items()
            }
            for block in ("amplitude", "complex")
            if block in given
        }
    except (TypeError, ValueError, AttributeError):
        raise InputError(
            f"{path}: 'patch_statistics' must be lists of numbers under 'amplitude' and 'complex'"
        ) from None
    return found or None
