"""From a file to a scan: what frames show by themselves, and conventions in one order, noted.

Letters: n frames, M probe modes, H rows, W columns (H = W = N).
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.scan import Array, Mask, Raw, Scan, check_array, mask_of, without_ones
from ptycho_torch.runtime.errors import InputError

Kind = Literal["amplitude", "intensity"]

# The light must be this many times brighter around one place than around the other.
CLEAR = 3.0
UNITS_M = {"metres": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}
"""What positions can be in, metres."""


def kind_of(raw: Raw, reading: ScanConventions) -> Kind:
    """Return whether the frames of a file are amplitudes or intensities."""
    if reading.values != "auto":
        return reading.values
    return raw.values if raw.certain or values_of(raw.frames_nHW) == "amplitude" else "intensity"


def values_of(frames: Array) -> Kind:
    """Return what frames hold by themselves: whole numbers are counts, all else amplitudes."""
    if frames.dtype.kind in "iu":
        return "intensity"
    # Frame by frame: most files show it in the first one.
    finite = (frame[np.isfinite(frame)] for frame in frames)
    whole = all(np.array_equal(values, np.rint(values)) for values in finite)
    return "intensity" if whole else "amplitude"


def light_of(frames: Array, good: Mask, kind: Kind) -> NDArray[np.float64]:
    """Return the light of each frame on good pixels, in the units of stored intensities, (n,)."""
    light = np.zeros(len(frames))
    for n, frame in enumerate(frames):
        values = np.nan_to_num(frame.astype(np.float64), posinf=0, neginf=0)
        values = np.square(values) if kind == "amplitude" else values
        light[n] = values.sum(where=good[n % len(good)])
    return light


def light_is_at(frames_nHW: Array, good: Mask) -> Literal["centre", "corner"] | None:
    """Return where the light is; None if that is not clear."""
    some = slice(None, None, max(1, len(frames_nHW) // 64))
    shown = np.nan_to_num(np.abs(frames_nHW[some].astype(np.float64)))
    # Masked pixels are dark: what marks them may be brighter than any light.
    mean = np.where(mask_of(good, some), shown, 0).mean(axis=0)
    near = np.abs(np.fft.fftfreq(mean.shape[-1])) < 1 / 8
    corner, centre = (float(mean[np.ix_(n, n)].sum()) for n in (near, np.fft.fftshift(near)))
    if max(corner, centre) <= CLEAR * min(corner, centre):
        return None
    return "centre" if centre > corner else "corner"


def centred_probe(probe_MHW: Array, notes: list[str]) -> Array:
    """Return a probe with its light round the centre; where it was in the corners, note it."""
    power = np.nan_to_num(np.square(np.abs(probe_MHW))).sum(axis=0)
    quarter, total = len(power) // 4, power.sum()
    ends = slice(quarter), slice(-quarter, None)
    corners = [power[rows, columns].sum() for rows in ends for columns in ends]
    # Some in each: a probe that is only off the centre stays there.
    if sum(corners) < CLEAR / (1 + CLEAR) * total or 32 * min(corners) <= total:
        return probe_MHW
    notes.append("the probe lies in the corners of its array: moved to the centre")
    return np.fft.fftshift(probe_MHW, axes=(1, 2))


def frames_first(
    source: str, name: str, frames: Array, count: int, stack: str, notes: list[str]
) -> Array:
    """Return the frames of `count` positions as (n, N, N), however they were stacked.

    stack: which axis numbers them; "auto" tells it from the sides and, where all are equal, from
    the light: from frame to frame it hardly changes, from row to row of a detector it does.
    """
    if frames.ndim > 3:
        notes.append(f"'{name}' is {frames.shape}: axes of one dropped")
        frames = without_ones(frames, 3)
    if frames.ndim == 3 and stack == "auto":
        stack, (rows, columns, last) = "first", frames.shape
        if rows == columns and last == count and frames.dtype.kind in "fiu":
            stack = "last" if rows != count else _by_light(source, name, frames, notes)
    if frames.ndim == 3 and stack == "last":
        notes.append(f"'{name}' is a transposed legacy stack {frames.shape}, turned to (n, N, N)")
        frames = np.moveaxis(frames, -1, 0)
    check_array(source, name, frames, "real", ("n", "N", "N"))
    return frames


def _by_light(source: str, name: str, frames: Array, notes: list[str]) -> str:
    spread = {}
    for stack, axes in (("first", (1, 2)), ("last", (0, 1))):
        light = np.nan_to_num(frames).sum(axis=axes, dtype=np.float64)
        spread[stack] = float(light.std() / (light.mean() or 1))
    low, high = sorted(spread, key=spread.__getitem__)
    if spread[high] < 2 * spread[low] or spread[high] == 0:
        raise InputError(
            f"{source}: '{name}' is {frames.shape}: any axis may number the frames, and their "
            "light does not tell; give --stack first or --stack last"
        )
    notes.append(f"'{name}' is {frames.shape}: its {low} axis numbers the frames, by their light")
    return low


def scan_of(raw: Raw, reading: ScanConventions, corners_n2: NDArray[np.float64], some: Any) -> Scan:
    """Return some frames of a file, whose windows are at `corners_n2[some]`: amplitudes with the
    zero frequency in the middle, 0 where masked, and s if it is known."""
    frames, good, kind = raw.frames_nHW[some], mask_of(raw.good_nHW, some), kind_of(raw, reading)
    place, why = reading.zero_frequency, "as requested"
    if place == "auto":
        seen = None if raw.certain else light_is_at(frames, good)
        place = seen or raw.zero_frequency
        why = "where the light is" if seen else "as the layout has it"
    raw.notes.append(f"zero frequency in the {place}: {why}")
    if place == "corner":
        frames = np.fft.fftshift(frames, axes=(-2, -1))
        good = np.fft.fftshift(good, axes=(-2, -1))
    what, scale = "amplitudes", raw.intensity_scale
    if kind == "intensity":
        whole = values_of(frames) == "intensity"
        what = f"{frames.dtype} {'counts' if whole else 'intensities'}: root taken"
        scale = 1.0 if whole and not raw.certain else scale
    raw.notes.append(what)
    probe, thing = raw.probe_MHW, raw.object_YX
    return Scan(
        source=raw.source,
        amplitude_nHW=_amplitude(raw.source, kind, frames, good),
        positions_n2=corners_n2[some],
        probe_MHW=None if probe is None else probe.astype(np.complex64),
        object_YX=None if thing is None else thing.astype(np.complex64),
        good_1HW=None if good.all() else good,
        intensity_scale=scale,
        notes=tuple(raw.notes),
    )


def _amplitude(source: str, kind: str, frames: Array, good: Mask) -> NDArray[np.float32]:
    amplitude = np.empty(frames.shape, np.float32)
    for n, frame in enumerate(frames):
        values = np.where(good[n % len(good)], frame, 0).astype(np.float64)
        if (values < 0).any():
            raise InputError(
                f"{source}: {(values < 0).sum()} pixels of frame {n} are negative; counts and "
                "amplitudes are >= 0: mask what marks dead pixels, undo what was subtracted"
            )
        with np.errstate(over="ignore"):
            amplitude[n] = np.sqrt(values) if kind == "intensity" else values
    if not amplitude.any():
        raise InputError(f"{source}: frames are zero everywhere, or masked: no light, no data")
    return amplitude


def corners_of(raw: Raw, reading: ScanConventions) -> NDArray[np.float64]:
    """Return the corners of all windows of a file, (row, column) in the object's pixels;
    `InputError` if a position is not finite, or its unit cannot be converted."""
    if len(bad := np.flatnonzero(~np.isfinite(raw.positions_n2).all(axis=1))):
        raise InputError(f"{raw.source}: the position of frame {bad[0]} is not finite")
    side, notes = raw.frames_nHW.shape[-1], raw.notes
    shape = None if raw.object_YX is None else np.array(raw.object_YX.shape)
    origin = raw.origin if reading.origin == "auto" else reading.origin
    notes.append(f"positions are of each window's {origin}")
    corners = raw.positions_n2
    units = raw.units if reading.units == "auto" else reading.units
    if units != "pixels":
        if (pixel := raw.pixel_m) is None:
            raise InputError(
                f"{raw.source}: positions in {units} cannot be converted to pixels: the file has "
                "no geometry; give --pixel-m, the side of a pixel of the object plane, or "
                "--units pixels"
            )
        notes.append(f"positions from {units} to pixels of {pixel[0]:.6g} x {pixel[1]:.6g} m")
        corners = corners * UNITS_M[units] / np.array(pixel)
    if reading.swap_axes:
        corners = corners[:, ::-1]
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
    low = corners.min(axis=0)
    if shape is None and (low < 0).any():
        notes.append("positions moved by whole pixels to start at 0; the file has no object")
        corners = corners - np.where(low < 0, np.floor(low), 0)
    return np.ascontiguousarray(corners)


def cropped(scan: Scan, patch_px: int | None) -> Scan:
    """Return the scan as the centre of its detector sees it, `patch_px` wide; None: all of it.

    A pixel of the object plane, L z / (N d) with wavelength L, distance z and N pixels of size d,
    becomes larger; a known object is left out. `InputError` if the detector is smaller.
    """
    side, probe = scan.patch_px, scan.probe_MHW
    if patch_px is None or patch_px == side:
        return scan
    if patch_px > side:
        raise InputError(
            f"{scan.source}: frames are {side} px, patch_px {patch_px} asks for more; detectors "
            "are cut, never padded"
        )
    if probe is not None:
        # The wave whose far field is the centre of the probe's, pixel by pixel.
        wave = np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1))
        inner = np.fft.ifftshift(_inner(wave, patch_px), axes=(-2, -1))
        probe = np.fft.ifft2(inner, norm="ortho").astype(np.complex64)
    left_out = "" if scan.object_YX is None else "; the file's object is left out"
    return replace(
        scan,
        amplitude_nHW=_inner(scan.amplitude_nHW, patch_px),
        good_1HW=None if scan.good_1HW is None else _inner(scan.good_1HW, patch_px),
        positions_n2=scan.positions_n2 * (patch_px / side),
        probe_MHW=probe,
        object_YX=None,
        notes=(*scan.notes, f"detector cropped from {side} to {patch_px} px{left_out}"),
    )


def _inner(frames: NDArray[Any], small: int) -> NDArray[Any]:
    """Return the centre of frames, such that [N // 2] becomes [p // 2]."""
    first = frames.shape[-1] // 2 - small // 2
    return np.ascontiguousarray(frames[..., first : first + small, first : first + small])
