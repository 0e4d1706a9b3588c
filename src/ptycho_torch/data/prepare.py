"""From what a file holds to a scan: conventions applied in one order, each one noted.

Letters: n frames, M probe modes, H rows, W columns (H = W = N).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.light import kind_of, light_is_at, values_of
from ptycho_torch.data.scan import UNITS_M, Array, Mask, Raw, Scan, mask_of
from ptycho_torch.runtime.errors import InputError


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
    becomes larger; a known object, whose pixels are finer, is left out. `InputError` if the
    detector is smaller.
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
