"""Read a scan from any file of measurements; what it is, is told from its content.

| layout | recognised by |
|---|---|
| CXI, HDF5 | the signature of HDF5 |
| split of the study | NPZ with `diffraction` and `coords_offsets` |
| canonical NPZ of the field | NPZ with `xcoords` or `ycoords`, and `diffraction` or `diff3d` |
| tike | NPZ with `data` and `scan` |

NPZ may be packed by bzip2.
"""

import contextlib
import logging
from pathlib import Path

from ptycho_torch.config.scan import Format, ScanConventions
from ptycho_torch.data import canonical
from ptycho_torch.data.dataset_file import read_split_image
from ptycho_torch.data.prepare import prepare
from ptycho_torch.data.scan import Array, Raw, Scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

_HDF5 = b"\x89HDF\r\n\x1a\n"

_LAYOUTS_WITH = {"translation_sign": ("cxi",), "image": ("split",), "scan_index": ("npz", "cxi")}
"""Which layouts have what only some have."""


def read_scan(path: str | Path, reading: ScanConventions = ScanConventions()) -> Scan:  # noqa: B008 (frozen)
    """Read and check a scan.

    Parameters
    ----------
    path
        NPZ (also packed by bzip2), or CXI; layouts: docs/data.md.
    reading
        Its conventions, where the file cannot say.

    Returns
    -------
    Scan
        Amplitudes with the zero frequency in the middle, corners in pixels, fractional; `notes`
        say what was recognised and done.

    Raises
    ------
    InputError
        If the file is none of these, or holds what cannot be used; names file and array.
    """
    scan = prepare(read_raw(path, reading), reading)
    for note in scan.notes:
        logger.info("%s: %s", path, note)
    return scan


def is_split(path: str | Path) -> bool:
    """Return whether a file is a split of the study, with or without positions."""
    if io.first_bytes(path) == _HDF5:
        return False
    keys = set(io.npz_keys(path))
    return "coords_offsets" in keys or ("diffraction" in keys and not keys & {"xcoords", "ycoords"})


def read_raw(path: str | Path, reading: ScanConventions) -> Raw:
    """Read what a file holds, with no convention applied; raises as `read_scan`."""
    if io.first_bytes(path) == _HDF5:
        _check_conventions(path, reading, "cxi")
        from ptycho_torch.data.cxi import read_cxi  # h5py is slow to import.

        return read_cxi(str(path), reading)
    arrays, layout = _npz_layout(path)
    _check_conventions(path, reading, layout)
    if layout == "split":
        return read_split_image(str(path), reading.image)
    if layout == "tike":
        return canonical.read_tike(str(path), arrays)
    return canonical.read_canonical(str(path), arrays, reading)


def _check_conventions(path: str | Path, reading: ScanConventions, layout: Format) -> None:
    """Refuse what was requested and the file contradicts or has no place for."""
    if reading.format not in ("auto", layout):
        raise InputError(
            f"{path}: has the layout '{layout}', not '{reading.format}'; leave out --format"
        )
    defaults = ScanConventions()
    for key, layouts in _LAYOUTS_WITH.items():
        if layout not in layouts and getattr(reading, key) != getattr(defaults, key):
            raise InputError(
                f"{path}: --{key.replace('_', '-')} {getattr(reading, key)} is of the layouts "
                f"{', '.join(layouts)} and has no effect on this file ({layout}); leave it out"
            )
    if reading.fit != defaults.fit and reading.patch_px is None:
        raise InputError(f"{path}: --fit {reading.fit} says how to cut to --patch-px: give both")


def _npz_layout(path: str | Path) -> tuple[dict[str, Array], Format]:
    """Return the arrays of a known layout, and which it is."""
    arrays, present = io.read_npz_known(path, *canonical.KEYS)
    if "_metadata" in present:
        # Other programs pickle it, and nothing is unpickled.
        with contextlib.suppress(InputError):
            arrays |= io.read_npz(path, "_metadata")
    if any(key in arrays for key in canonical.FRAMES):
        if "coords_offsets" in present:
            return arrays, "split"
        if {"xcoords", "ycoords"} & arrays.keys():
            return arrays, "npz"
    elif {"data", "scan"} <= arrays.keys():
        return arrays, "tike"
    raise InputError(
        f"{path}: is no scan in a layout that is known here; expected 'diffraction' or 'diff3d' "
        "with 'xcoords' and 'ycoords' (canonical NPZ) or with 'coords_offsets' and "
        f"'coords_nominal' (split), or 'data' with 'scan' (tike); it has: "
        f"{', '.join(present) or 'nothing'}"
    )
