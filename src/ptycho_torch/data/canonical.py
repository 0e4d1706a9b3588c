"""The field's canonical NPZ: `diffraction` or `diff3d`, `xcoords`, `ycoords`, `probeGuess`.

x is the column, y the row. A coordinate names the pixel [N // 2] of its window, counted from pixel
0 of `objectGuess`: PtychoPINN, where the layout comes from, pads the object by N // 2 on each side
and cuts [y : y + N, x : x + N] of that (`raw_data.get_image_patches`).

Letters: n frames, N side of a frame.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.raw import (
    Array,
    Raw,
    object_plane,
    one_axis,
    probe_modes,
    real_frames,
)
from ptycho_torch.runtime.errors import InputError

FRAMES = ("diffraction", "diff3d")
FORMAT = "ptycho-torch scan 1"
"""In `_metadata` of the files that `write` makes."""
KEYS = (
    *FRAMES,
    *("xcoords", "ycoords", "probeGuess", "objectGuess", "scan_index", "object_index"),
    *("good_pixels", "intensity_scale"),
)


def read_canonical(source: str, arrays: dict[str, Array], reading: ScanConventions) -> Raw:
    """Return a canonical NPZ's scan.

    Raises
    ------
    InputError
        If an array is missing, or arrays do not belong together; names the array.
    """
    for key in ("xcoords", "ycoords"):
        if key not in arrays:
            raise InputError(f"{source}: has no array '{key}'; positions need both coordinates")
    x_n, y_n = (one_axis(source, key, arrays[key]) for key in ("xcoords", "ycoords"))
    if len(x_n) != len(y_n):
        raise InputError(
            f"{source}: 'xcoords' has {len(x_n)} values and 'ycoords' {len(y_n)}; expected one of "
            "each for every frame"
        )
    name, frames = _one_stack(source, arrays)
    frames, notes = _frames_first(source, name, frames, len(x_n))
    positions = np.stack([y_n, x_n], axis=1)
    chosen, note = _chosen_scan(source, arrays, reading.scan_index, len(frames))
    probe = arrays.get("probeGuess")
    thing = arrays.get("objectGuess")
    good = arrays.get("good_pixels")
    if good is not None and good.dtype.kind != "b":
        raise InputError(f"{source}: 'good_pixels' has type {good.dtype}, expected booleans")
    if good is not None and len(good) == len(frames) > 1:
        good = good[chosen]
    return Raw(
        source=source,
        layout="npz",
        frames_nHW=frames[chosen],
        positions_n2=positions[chosen],
        probe_MHW=None if probe is None else probe_modes(source, "probeGuess", probe),
        object_YX=None if thing is None else object_plane(source, "objectGuess", thing),
        good_nHW=good,
        intensity_scale=_scale(source, arrays),
        origin="centre",
        certain=FORMAT in str(arrays.get("_metadata", "")),
        notes=(f"canonical NPZ, frames from '{name}'", *notes, *note),
    )


def _one_stack(source: str, arrays: dict[str, Array]) -> tuple[str, Array]:
    found = [key for key in FRAMES if key in arrays]
    first, last = (np.squeeze(arrays[key]) for key in (found[0], found[-1]))
    if not np.array_equal(first, last, equal_nan=first.dtype.kind == "f"):
        raise InputError(f"{source}: 'diffraction' and 'diff3d' differ; keep the one that is meant")
    return found[0], arrays[found[0]]


def _frames_first(
    source: str, name: str, frames: Array, count: int
) -> tuple[Array, tuple[str, ...]]:
    """Return frames as (n, N, N); a legacy stack (N, N, n) is turned, and said."""
    notes: tuple[str, ...] = ()
    if frames.ndim == 4 and frames.shape[-1] == 1:
        frames, notes = frames[..., 0], (f"'{name}' has a last axis of one, dropped",)
    shape = frames.shape
    if frames.ndim == 3 and shape[0] != count and shape[2] == count and shape[0] == shape[1]:
        notes += (f"'{name}' is a transposed legacy stack {shape}, turned to (n, N, N)",)
        frames = np.moveaxis(frames, -1, 0)
    real_frames(source, name, frames)
    if len(frames) != count:
        raise InputError(
            f"{source}: '{name}' has {len(frames)} frames and 'xcoords' {count} values; expected "
            "one position for every frame"
        )
    return frames, notes


def _chosen_scan(
    source: str, arrays: dict[str, Array], wanted: int | None, frames: int
) -> tuple[NDArray[np.bool_] | slice, tuple[str, ...]]:
    """Return which frames belong to the wanted scan, and what to say."""
    for key in ("object_index", "scan_index"):
        if key not in arrays:
            continue
        index = one_axis(source, key, arrays[key])
        if len(index) != frames:
            raise InputError(
                f"{source}: '{key}' has {len(index)} values, the file {frames} frames; expected "
                "one for every frame"
            )
        scans = np.unique(index)
        if key == "scan_index" and len(scans) == frames > 1 and wanted is None:
            return slice(None), ("'scan_index' numbers the frames: taken as one scan",)
        if len(scans) == 1 and wanted in (None, int(scans[0])):
            continue
        known = ", ".join(f"{scan:g}" for scan in scans[:8]) + (", ..." if len(scans) > 8 else "")
        if wanted is None:
            raise InputError(
                f"{source}: holds {len(scans)} scans ('{key}': {known}); choose one with "
                "--scan-index"
            )
        if wanted not in scans:
            raise InputError(f"{source}: has no scan {wanted}; '{key}' has: {known}")
        mask: NDArray[np.bool_] = index == wanted
        return mask, (f"scan {wanted} of {len(scans)} ('{key}'): {int(mask.sum())} frames",)
    return slice(None), ()


def _scale(source: str, arrays: dict[str, Array]) -> float | None:
    if "intensity_scale" not in arrays:
        return None
    scale = arrays["intensity_scale"]
    if scale.size != 1 or scale.dtype.kind not in "fiu" or not 0 < scale.item() < np.inf:
        came = scale.tolist() if scale.size < 4 else f"{scale.shape} values"
        raise InputError(f"{source}: 'intensity_scale' must be one number > 0, got {came}")
    return float(scale.item())


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
