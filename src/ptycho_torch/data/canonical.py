"""NPZ of measurements: the field's canonical layout, and that of the library tike's test data.

Canonical: `diffraction` or `diff3d`, `xcoords`, `ycoords`, `probeGuess`. x is the column, y the
row. A coordinate names the pixel [N // 2] of its window, counted from pixel 0 of `objectGuess`:
PtychoPINN, where the layout comes from, pads the object by N // 2 on each side and cuts
[y : y + N, x : x + N] of that (`raw_data.get_image_patches`).

tike: `data` (n, N, N) counts with the zero frequency in the corner; `scan` (n, 2) corners (row,
column) of the windows in pixels of the object plane; `probe` (1, 1, 1, M, N, N), a guess.

Letters: n frames, N side of a frame.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.scan import Array, Raw, check_array, object_plane, probe_modes
from ptycho_torch.runtime.errors import InputError

FRAMES = ("diffraction", "diff3d")
FORMAT = "ptycho-torch scan 1"
"""In `_metadata` of the files that `write` makes."""
KEYS = (
    *FRAMES,
    *("xcoords", "ycoords", "probeGuess", "objectGuess", "scan_index", "object_index"),
    *("good_pixels", "intensity_scale", "data", "scan", "probe", "psi"),
)


def read_canonical(source: str, arrays: dict[str, Array], conventions: ScanConventions) -> Raw:
    """Return a canonical NPZ's scan; raises as `read_scan`."""
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


def read_tike(source: str, arrays: dict[str, Array]) -> Raw:
    """Return the scan of tike's layout, which may have one angle; raises as `read_scan`."""
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


def values_of(frames: Array) -> Literal["amplitude", "intensity"]:
    """Return what frames hold by themselves: whole numbers are counts, all else amplitudes."""
    if frames.dtype.kind in "iu":
        return "intensity"
    # Frame by frame: most files show it in the first one.
    for frame in frames:
        finite = frame[np.isfinite(frame)]
        if not np.array_equal(finite, np.rint(finite)):
            return "amplitude"
    return "intensity"
