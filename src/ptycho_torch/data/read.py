"""Read a scan from any file of measurements; what it is, is told from its content.

| layout | recognised by |
|---|---|
| CXI, HDF5 | the signature of HDF5 |
| split of the study | NPZ with `diffraction` and `coords_offsets` |
| canonical NPZ of the field | NPZ with `xcoords` or `ycoords`, and `diffraction` or `diff3d` |
| tike | NPZ with `data` and `scan` |

NPZ may be packed by bzip2.

Canonical: `diffraction` or `diff3d`, `xcoords`, `ycoords`, `probeGuess`. x is the column, y the
row. A coordinate names the pixel [N // 2] of its window, counted from pixel 0 of `objectGuess`:
PtychoPINN, where the layout comes from, pads the object by N // 2 on each side and cuts
[y : y + N, x : x + N] of that (`raw_data.get_image_patches`).

tike: `data` (n, N, N) counts with the zero frequency in the corner; `scan` (n, 2) corners (row,
column) of the windows in pixels of the object plane; `probe` (1, 1, 1, M, N, N), a guess.

Letters: n frames, N side of a frame.
"""

import contextlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import Format, ScanConventions
from ptycho_torch.data.dataset_file import read_split_image
from ptycho_torch.data.prepare import prepare
from ptycho_torch.data.scan import Array, Raw, Scan, check_array, object_plane, probe_modes
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

FRAMES = ("diffraction", "diff3d")
FORMAT = "ptycho-torch scan 1"
"""In `_metadata` of the files that `write` makes."""
KEYS = (
    *FRAMES,
    *("xcoords", "ycoords", "probeGuess", "objectGuess", "scan_index", "object_index"),
    *("good_pixels", "intensity_scale", "data", "scan", "probe", "psi"),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"

_LAYOUTS_WITH = {"translation_sign": ("cxi",), "image": ("split",), "scan_index": ("npz", "cxi")}
"""Which layouts have what only some have."""


def read_scan(path: str | Path, reading: ScanConventions = ScanConventions()) -> Scan:  # noqa: B008 (frozen)
    """Read and check a scan.

    Parameters
    ----------
    path
        NPZ (also packed by bzip2), or CXI; layouts: docs/own-data.md.
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
        return _tike(str(path), arrays)
    return _canonical(str(path), arrays, reading)


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
    arrays, present = io.read_npz_known(path, *KEYS)
    if "_metadata" in present:
        # Other programs pickle it, and nothing is unpickled.
        with contextlib.suppress(InputError):
            arrays |= io.read_npz(path, "_metadata")
    if any(key in arrays for key in FRAMES):
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


def _canonical(source: str, arrays: dict[str, Array], conventions: ScanConventions) -> Raw:
    for key in ("xcoords", "ycoords"):
        if key not in arrays:
            raise InputError(f"{source}: has no array '{key}'; positions need both coordinates")
    name, *other = (key for key in FRAMES if key in arrays)
    if other and not np.array_equal(arrays[name], arrays[other[0]]):
        raise InputError(f"{source}: 'diffraction' and 'diff3d' differ; keep the one that is meant")
    frames, notes = _frames_first(source, name, arrays[name], arrays["xcoords"].size)
    y_n, x_n = (_per_frame(source, key, arrays, len(frames)) for key in ("ycoords", "xcoords"))
    chosen, note = _chosen_scan(source, arrays, conventions.scan_index, len(frames))
    good = arrays.get("good_pixels")
    if good is not None:
        check_array(source, "good_pixels", good, "boolean", (1, "N", "N"), (len(frames), "N", "N"))
        good = good[chosen] if len(good) == len(frames) > 1 else good
    scale = arrays.get("intensity_scale")
    if scale is not None and (scale.size != 1 or not 0 < scale.item() < np.inf):
        raise InputError(f"{source}: 'intensity_scale' must be one number > 0, got {scale}")
    return Raw(
        source=source,
        layout="npz",
        frames_nHW=frames[chosen],
        positions_n2=np.stack([y_n, x_n], axis=1)[chosen],
        probe_MHW=probe_modes(source, "probeGuess", arrays.get("probeGuess")),
        object_YX=object_plane(source, "objectGuess", arrays.get("objectGuess")),
        good_nHW=good,
        intensity_scale=None if scale is None else float(scale.item()),
        origin="centre",
        certain=FORMAT in str(arrays.get("_metadata", "")),
        notes=(f"canonical NPZ, frames from '{name}'", *notes, *note),
    )


def _tike(source: str, arrays: dict[str, Array]) -> Raw:
    """Return the scan of tike's layout, whose data may have an axis of one angle in front."""
    data, scan = (
        arrays[key][0] if arrays[key].ndim == ndim and len(arrays[key]) == 1 else arrays[key]
        for key, ndim in (("data", 4), ("scan", 3))
    )
    check_array(source, "data", data, "real", ("n", "N", "N"))
    check_array(source, "scan", scan, "real", (len(data), 2))
    return Raw(
        source=source,
        layout="tike",
        frames_nHW=data,
        positions_n2=scan.astype(np.float64),
        probe_MHW=probe_modes(source, "probe", arrays.get("probe")),
        object_YX=object_plane(source, "psi", arrays.get("psi")),
        values="intensity",
        zero_frequency="corner",
        notes=("layout of tike: data, scan, probe",),
    )


def _frames_first(
    source: str, name: str, frames: Array, count: int
) -> tuple[Array, tuple[str, ...]]:
    """Return frames as (n, N, N); a legacy stack (N, N, n) is turned, and noted."""
    notes: tuple[str, ...] = ()
    if frames.ndim == 4 and frames.shape[-1] == 1:
        frames, notes = frames[..., 0], (f"'{name}' has a last axis of one, dropped",)
    shape = frames.shape
    if frames.ndim == 3 and shape[0] != count and shape[2] == count and shape[0] == shape[1]:
        notes += (f"'{name}' is a transposed legacy stack {shape}, turned to (n, N, N)",)
        frames = np.moveaxis(frames, -1, 0)
    check_array(source, name, frames, "real", ("n", "N", "N"))
    return frames, notes


def _per_frame(
    source: str, name: str, arrays: dict[str, Array], frames: int
) -> NDArray[np.float64]:
    """Return a coordinate or an index as float64 (n,)."""
    array = arrays[name].reshape(-1)
    check_array(source, name, array, "real", (frames,))
    return array.astype(np.float64)


def _chosen_scan(
    source: str, arrays: dict[str, Array], requested: int | None, frames: int
) -> tuple[NDArray[np.bool_] | slice, tuple[str, ...]]:
    """Return which frames belong to the requested scan, and what to say."""
    for key in ("object_index", "scan_index"):
        if key not in arrays:
            continue
        index = _per_frame(source, key, arrays, frames)
        scans = np.unique(index)
        if key == "scan_index" and len(scans) == frames > 1 and requested is None:
            return slice(None), ("'scan_index' numbers the frames: taken as one scan",)
        if len(scans) == 1 and requested in (None, int(scans[0])):
            continue
        if requested not in scans:
            known = ", ".join(f"{scan:g}" for scan in scans[:8])
            lacks = "" if requested is None else f"has no scan {requested}; it "
            raise InputError(
                f"{source}: {lacks}holds {len(scans)} scans ('{key}': {known}); choose one with "
                "--scan-index"
            )
        mask: NDArray[np.bool_] = index == requested
        return mask, (f"scan {requested} of {len(scans)} ('{key}'): {int(mask.sum())} frames",)
    return slice(None), ()
