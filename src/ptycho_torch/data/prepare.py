"""From what a file holds to a scan: conventions applied in one order, each one noted.

Letters: n frames, H rows, W columns (H = W = N).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.resize import resized
from ptycho_torch.data.scan import Array, Mask, Raw, Scan, check_array, mask_of
from ptycho_torch.runtime.errors import InputError

# The light must be this many times brighter around one place than around the other.
_CLEAR = 3.0
_ORIGINS = {
    "corner": "window's upper left pixel",
    "centre": "window's pixel [N // 2]",
    "middle": "window's centre, from the middle of the object or scan",
}


def prepare(raw: Raw, reading: ScanConventions) -> Scan:
    """Return the scan that a file holds under these conventions; raises as `read_scan`."""
    notes, total = list(raw.notes), len(raw.frames_nHW)
    first = slice(min(total, reading.n_images or total))
    if first.stop < total:
        notes.append(f"the first {first.stop} of {total} frames")
    # From all positions, so that a part of the frames is where it is in the whole.
    positions = corners_of(raw, reading, notes)[first]
    repeats = len(positions) - (places := len(np.unique(positions, axis=0)))
    if repeats > places or (repeats and places == 1):
        raise InputError(
            f"{raw.source}: {len(positions)} frames have only {places} distinct positions, so most "
            "are duplicates; are these the right coordinates? average repeated exposures first"
        )
    if repeats:
        notes.append(f"{repeats} frames repeat an earlier position: taken as repeated exposures")
    amplitude, good, scale = measured(
        raw, reading, raw.frames_nHW[first], mask_of(raw.good_nHW, first), notes
    )
    scan = Scan(
        source=raw.source,
        amplitude_nHW=amplitude,
        positions_n2=positions,
        probe_MHW=None if raw.probe_MHW is None else raw.probe_MHW.astype(np.complex64),
        object_YX=None if raw.object_YX is None else raw.object_YX.astype(np.complex64),
        good_1HW=good,
        intensity_scale=scale,
        notes=tuple(notes),
    )
    return resized(scan, reading)


def measured(
    raw: Raw, reading: ScanConventions, frames: Array, good: Mask | None, notes: list[str]
) -> tuple[NDArray[np.float32], Mask | None, float | None]:
    """Return amplitudes with the zero frequency in the middle and 0 where masked, their mask, and
    s if it is known.

    `frames` and `good` are those of `raw`, or a part of them. Raises as `prepare`.
    """
    if good is not None:
        n, *sides = frames.shape
        check_array(raw.source, "mask", good, "boolean", (1, *sides), (n, *sides))
    place, why = reading.zero_frequency, "as requested"
    if place == "auto":
        seen = None if raw.certain else light_is_at(frames)
        place = seen or raw.zero_frequency
        why = "where the light is" if seen else "as the layout has it"
    notes.append(f"zero frequency in the {place}: {why}")
    if place == "corner":
        frames = np.fft.fftshift(frames, axes=(-2, -1))
        good = None if good is None else np.fft.fftshift(good, axes=(-2, -1))
    kind = reading.values
    if kind == "auto":
        kind = (
            raw.values if raw.certain or values_of(raw.frames_nHW) == "amplitude" else "intensity"
        )
    full = _saturated(kind, reading, frames, notes)
    if full is not None:
        good = ~full if good is None else good & ~full
    amplitude = _amplitude(raw.source, kind, frames, good)
    if kind == "amplitude":
        notes.append("amplitudes")
        return amplitude, good, raw.intensity_scale
    whole = values_of(frames) == "intensity"
    notes.append(f"{frames.dtype} {'counts' if whole else 'intensities'}: root taken")
    return amplitude, good, 1.0 if whole and not raw.certain else raw.intensity_scale


def values_of(frames: Array) -> Literal["amplitude", "intensity"]:
    """Return what frames hold by themselves: whole numbers are counts, all else amplitudes."""
    if frames.dtype.kind in "iu":
        return "intensity"
    # Frame by frame: most files show it in the first one.
    finite = (frame[np.isfinite(frame)] for frame in frames)
    whole = all(np.array_equal(values, np.rint(values)) for values in finite)
    return "intensity" if whole else "amplitude"


def light_is_at(frames_nHW: Array) -> Literal["centre", "corner"] | None:
    """Return where the light is; None if that is not clear."""
    mean = np.nan_to_num(np.abs(frames_nHW[:: max(1, len(frames_nHW) // 64)])).mean(axis=0)
    near = np.abs(np.fft.fftfreq(mean.shape[-1])) < 1 / 8
    corner, centre = (float(mean[np.ix_(n, n)].sum()) for n in (near, np.fft.fftshift(near)))
    if max(corner, centre) <= _CLEAR * min(corner, centre):
        return None
    return "centre" if centre > corner else "corner"


def _saturated(
    kind: str, reading: ScanConventions, frames: Array, notes: list[str]
) -> NDArray[np.bool_] | None:
    """Return which pixels are saturated; None: none is."""
    levels: dict[str, float] = {}
    if frames.dtype.kind in "iu":
        top = np.iinfo(frames.dtype).max
        levels[f"at {top}, the largest {frames.dtype}"] = top
    if (counts := reading.saturation_counts) is not None:
        level = counts**0.5 if kind == "amplitude" else counts
        levels[f"saturated ({counts:g} or more)"] = level
    full = None
    for why, level in levels.items():
        over = frames >= level
        if over.any():
            count = int(over.any(axis=(1, 2)).sum())
            notes.append(f"{int(over.sum())} pixels in {count} frames masked: {why}")
            full = over  # A second level that masks anything is the lower one.
    return full


def _amplitude(source: str, kind: str, frames: Array, good: Mask | None) -> NDArray[np.float32]:
    """Return amplitudes, 0 where masked."""
    used = np.ones((1, 1, 1), bool) if good is None else good
    if not used.any():
        raise InputError(f"{source}: every pixel is masked or saturated; nothing was measured")
    negative = (frames < 0) & used
    if negative.any():
        first = int(np.flatnonzero(negative.any(axis=(1, 2)))[0])
        raise InputError(
            f"{source}: {int(negative.sum())} pixels are negative, the first in frame {first}; "
            "counts and amplitudes are >= 0: mask what marks dead pixels, undo what was subtracted"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        real = np.where(used, frames, np.zeros((), frames.dtype))
        if real.dtype.itemsize < 4:
            real = real.astype(np.float32)
        amplitude = (np.sqrt(real) if kind == "intensity" else real).astype(np.float32)
    if np.isinf(amplitude).any() and not np.isinf(real).any():
        raise InputError(f"{source}: frames hold {real.max():.3g}, too large for float32")
    if not amplitude.any():
        raise InputError(f"{source}: frames are zero everywhere: no light, no data")
    return amplitude


def corners_of(raw: Raw, reading: ScanConventions, notes: list[str]) -> NDArray[np.float64]:
    """Return the corners of all windows of a file, (row, column) in the object's pixels.

    Raises
    ------
    InputError
        If a position is not finite, or its unit cannot be converted.
    """
    check_array(raw.source, "positions", raw.positions_n2, "real", (len(raw.frames_nHW), 2))
    if not np.isfinite(raw.positions_n2).all():
        first = int(np.flatnonzero(~np.isfinite(raw.positions_n2).all(axis=1))[0])
        raise InputError(f"{raw.source}: the position of frame {first} is not finite")
    side = raw.frames_nHW.shape[-1]
    shape = None if raw.object_YX is None else np.array(raw.object_YX.shape)
    origin = raw.origin if reading.origin == "auto" else reading.origin
    notes.append(f"positions are of the {_ORIGINS[origin]}")
    corners: Any = raw.positions_n2
    if (raw.units if reading.units == "auto" else reading.units) == "metres":
        corners = corners / _pixel_m(raw, reading, notes)
    if raw.layout == "cxi":
        corners = reading.translation_sign * corners
        notes.append(
            f"(row, column) along {'+' if reading.translation_sign > 0 else '-'}translation (y, x);"
            " the other sign fits the frames alone as well, with the twin image"
        )
    if reading.swap_axes:
        corners = corners[:, ::-1]
        notes.append("rows and columns of the positions swapped")
    flips = np.array([reading.flip_rows, reading.flip_columns])
    half = 0.5 * reading.half_pixel
    if origin == "middle":
        # A mirror about the middle is a change of sign there.
        middle = 0 if shape is None else (shape - side) / 2
        corners = np.where(flips, -corners, corners) + half + middle
    else:
        corners = corners + half - (side // 2 if origin == "centre" else 0)
        ends = corners.min(axis=0) + corners.max(axis=0) if shape is None else shape - side
        corners = np.where(flips, ends - corners, corners)
    notes += [f"{axis} of the positions mirrored" for axis in np.array(["rows", "columns"])[flips]]
    if reading.half_pixel:
        notes.append(f"{reading.half_pixel:+d} half pixel added to the positions")
    low = corners.min(axis=0)
    if shape is None and (low < 0).any():
        notes.append("positions moved by whole pixels to start at 0; the file has no object")
        corners = corners - np.where(low < 0, np.floor(low), 0)
    return np.ascontiguousarray(corners)


def _pixel_m(raw: Raw, reading: ScanConventions, notes: list[str]) -> NDArray[np.float64]:
    """Return (height, width) of a pixel of the object plane, metres."""
    pixel = raw.pixel_m if reading.pixel_m is None else (reading.pixel_m, reading.pixel_m)
    if pixel is None:
        raise InputError(
            f"{raw.source}: positions in metres cannot be converted to pixels: "
            f"{raw.pixel_missing}; give --pixel-m, the side of a pixel of the object plane, or "
            "--units pixels"
        )
    notes.append(f"positions from metres to pixels of {pixel[0]:.6g} x {pixel[1]:.6g} m")
    return np.array(pixel)
