"""Read a scan from any file of measurements; what it is, is told from its content.

HDF5 is CXI; an NPZ is a split of the study if it has `coords_offsets`, the field's canonical NPZ if
it has `xcoords` and `ycoords`, which name the pixel [N // 2] of a window, and tike's if it has
`data` and `scan`, the corners of windows (docs/own-data.md: layouts and where they come from).

Letters: n frames, N side of a frame.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.closing import check_steps, closed
from ptycho_torch.data.dataset_file import read_split_image
from ptycho_torch.data.light import frames_first
from ptycho_torch.data.prepare import corners_of, cropped, scan_of
from ptycho_torch.data.scan import (
    ROLES,
    Array,
    Raw,
    Scan,
    by_role,
    check_array,
    complex_array,
    probe_modes,
    without_ones,
)
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

FRAMES = ("diffraction", "diff3d")
FORMAT = "ptycho-torch scan 1"
"""In `_metadata` of the files that `write` makes."""
OPTIONAL = (
    *("probeGuess", "objectGuess", "scan_index", "intensity_scale", "_metadata", "probe", "psi"),
    *ROLES,
)
KEYS = (*FRAMES, "xcoords", "ycoords", "data", "scan", *OPTIONAL)


def read_scan(path: str | Path, reading: ScanConventions = ScanConventions()) -> Scan:  # noqa: B008 (frozen)
    """Read and check a scan of any layout (docs/own-data.md); its notes are logged.

    reading: its conventions, where the file cannot say. `InputError` if the file is none of these,
    or holds what cannot be used; names file and array.
    """
    scan = quiet_scan(path, reading)
    for note in scan.notes:
        logger.info("%s: %s", path, note)
    return scan


def quiet_scan(path: str | Path, reading: ScanConventions) -> Scan:
    """Return a scan as `read_scan` does, its notes for the caller to show."""
    raw, first = read_raw(path, reading), reading.n_images
    if first is not None and first < len(raw.frames_nHW):
        raw.notes.append(f"the first {first} of {len(raw.frames_nHW)} frames")
    # From all positions, so that a part of the frames is where it is in the whole.
    corners = corners_of(raw, reading)
    check_steps(raw, corners)
    return cropped(scan_of(raw, reading, corners, slice(first)), reading.patch_px)


def is_split(path: str | Path) -> bool:
    """Return whether a file is a split of the study, with or without positions."""
    if io.is_hdf5(path):
        return False
    keys = set(io.npz_keys(path))
    return "coords_offsets" in keys or ("diffraction" in keys and not keys & {"xcoords", "ycoords"})


def read_raw(path: str | Path, reading: ScanConventions) -> Raw:
    """Read what a file holds, with its mask and corrections applied, and without the frames that
    are far from its light, but with no convention applied; raises as `read_scan`."""
    source = str(path)
    if io.is_hdf5(path):
        from ptycho_torch.data.cxi import read_cxi  # h5py is slow to import.

        return closed(read_cxi(source, reading), reading)
    arrays, present = io.read_npz_known(path, *KEYS, optional=OPTIONAL)
    frames = next((key for key in FRAMES if key in arrays), "")
    if frames and "coords_offsets" in present:
        return closed(read_split_image(source, reading), reading)
    if frames and {"xcoords", "ycoords"} <= arrays.keys():
        raw = _canonical(source, frames, arrays, reading)
    elif {"data", "scan"} <= arrays.keys():
        raw = _tike(source, arrays, reading)
    else:
        raise InputError(
            f"{path}: is no scan in a layout that is known here; expected 'diffraction' or "
            "'diff3d' with 'xcoords' and 'ycoords' (canonical NPZ) or with 'coords_offsets' and "
            "'coords_nominal' (split), or 'data' with 'scan' (tike); it has: "
            f"{', '.join(present) or 'nothing'}"
        )
    roles = by_role(arrays)
    used = {name for name, *_ in roles.values()}
    unused = [key for key in arrays.keys() & ROLES.keys() if key not in used]
    for key in present:
        if key not in arrays:
            unused.append(f"{key} (pickled, which is never loaded)" if key in KEYS else key)
    return closed(replace(raw, unused=tuple(sorted(unused)), **roles), reading)


def _tike(source: str, arrays: dict[str, Array], reading: ScanConventions) -> Raw:
    """Return the scan of tike's layout, whose arrays may have an axis of one angle in front, as the
    canonical one under other names and conventions."""
    scan = without_ones(arrays["scan"], 2)
    check_array(source, "scan", scan, "real", ("n", 2))
    arrays["ycoords"], arrays["xcoords"] = scan.T
    raw = _canonical(source, "data", arrays, reading, probe="probe", thing="psi")
    return replace(raw, values="intensity", zero_frequency="corner", origin="corner")


def _canonical(
    source: str,
    name: str,
    arrays: dict[str, Array],
    reading: ScanConventions,
    *,
    probe: str = "probeGuess",
    thing: str = "objectGuess",
) -> Raw:
    notes = [f"NPZ, frames from '{name}'"]
    certain = FORMAT in str(arrays.get("_metadata", ""))
    stack = "first" if certain and reading.stack == "auto" else reading.stack
    frames = frames_first(source, name, arrays[name], arrays["xcoords"].size, stack, notes)
    for key in ("ycoords", "xcoords", "scan_index"):
        if key in arrays:
            arrays[key] = arrays[key].reshape(-1)
            check_array(source, key, arrays[key], "real", (len(frames),))
    chosen = _chosen_scan(source, arrays.get("scan_index", np.zeros(0)), reading.scan_index, notes)
    for key in ROLES.keys() & arrays.keys():
        if arrays[key].ndim and len(arrays[key]) == len(frames):
            arrays[key] = arrays[key][chosen]
    scale = arrays.get("intensity_scale")
    if scale is not None and (scale.size != 1 or not 0 < scale.item() < np.inf):
        raise InputError(f"{source}: 'intensity_scale' must be one number > 0, got {scale}")
    positions = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1, dtype=np.float64)
    return Raw(
        source=source,
        layout="npz",
        frames_nHW=frames[chosen],
        positions_n2=positions[chosen],
        probe_MHW=probe_modes(source, probe, arrays.get(probe)),
        object_YX=complex_array(source, thing, arrays.get(thing), ("Y", "X")),
        intensity_scale=None if scale is None else float(scale.item()),
        origin="centre",
        certain=certain,
        notes=notes,
    )


def _chosen_scan(source: str, index_n: Array, requested: int | None, notes: list[str]) -> Any:
    scans = np.unique(index_n)
    # One scan, or a number for each frame.
    if not len(scans) or (requested is None and len(scans) in (1, len(index_n))):
        return slice(None)
    if requested not in scans:
        known = ", ".join(f"{scan:g}" for scan in scans[:8])
        raise InputError(
            f"{source}: holds {len(scans)} scans ('scan_index': {known}); choose one with "
            "--scan-index"
        )
    mask = index_n == requested
    notes.append(f"scan {requested} of {len(scans)} ('scan_index'): {np.sum(mask)} frames")
    return mask
