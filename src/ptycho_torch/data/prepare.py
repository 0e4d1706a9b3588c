"""From what a file holds to a scan: conventions applied in one order, each one said.

Letters: n frames, H rows, W columns (H = W = N).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.canonical import values_of
from ptycho_torch.data.positions import check_repeats, corners_of
from ptycho_torch.data.raw import Array, Raw
from ptycho_torch.data.resize import resized
from ptycho_torch.data.scan import Scan
from ptycho_torch.runtime.errors import InputError

# The light must be this many times brighter around one place than around the other.
_CLEAR = 3.0


def prepare(raw: Raw, reading: ScanConventions) -> Scan:
    """Return the scan that a file holds under a reading.

    Raises
    ------
    InputError
        If the arrays do not belong together, or hold what cannot be measured.
    """
    notes = list(raw.notes)
    count = min(len(raw.frames_nHW), reading.n_images or len(raw.frames_nHW))
    if count < len(raw.frames_nHW):
        notes.append(f"the first {count} of {len(raw.frames_nHW)} frames")
    # From all positions, so that a part of the frames is where it is in the whole.
    positions = corners_of(raw, reading, notes)[:count]
    frames = raw.frames_nHW[:count]
    good = raw.good_nHW
    if good is not None and len(good) == len(raw.frames_nHW) > 1:
        good = good[:count]
    amplitude, good, scale = measured(raw, reading, frames, good, notes)
    check_repeats(raw.source, positions, notes)
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
    raw: Raw,
    reading: ScanConventions,
    frames: Array,
    good: NDArray[np.bool_] | None,
    notes: list[str],
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, float | None]:
    """Return amplitudes with the zero frequency in the middle, their mask, and s if it is known.

    `frames` and `good` are those of `raw`, or a part of them. Raises as `prepare`.
    """
    frames, good = _centred(raw, reading, frames, good, notes)
    good = _unsaturated(raw, reading, frames, good, notes)
    amplitude, scale = _amplitude(raw, reading, frames, good, notes)
    return amplitude, good, scale


def light_is_at(frames_nHW: Array) -> str | None:
    """Return `centre` or `corner`, where the light is; None if that is not clear."""
    mean = np.nan_to_num(np.abs(frames_nHW[:: max(1, len(frames_nHW) // 64)])).mean(axis=0)
    side = mean.shape[-1]
    near = np.abs(np.fft.fftfreq(side)) < 1 / 8
    corner = float(mean[np.ix_(near, near)].sum())
    near = np.fft.fftshift(near)
    centre = float(mean[np.ix_(near, near)].sum())
    if max(corner, centre) <= _CLEAR * min(corner, centre):
        return None
    return "centre" if centre > corner else "corner"


def _centred(
    raw: Raw,
    reading: ScanConventions,
    frames: Array,
    good: NDArray[np.bool_] | None,
    notes: list[str],
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Return frames, and their mask, with the zero frequency at [N // 2, N // 2]."""
    place, why = reading.zero_frequency, "as told"
    if place == "auto":
        seen = None if raw.certain else light_is_at(frames)
        place = seen or raw.zero_frequency  # type: ignore[assignment]
        why = "where the light is" if seen else "as the layout has it"
    notes.append(f"zero frequency in the {place}: {why}")
    if place == "centre":
        return frames, good
    turned = None if good is None else np.fft.fftshift(good, axes=(-2, -1))
    return np.fft.fftshift(frames, axes=(-2, -1)), turned


def _unsaturated(
    raw: Raw,
    reading: ScanConventions,
    frames: Array,
    good: NDArray[np.bool_] | None,
    notes: list[str],
) -> NDArray[np.bool_] | None:
    """Return the mask without saturated pixels."""
    if good is not None and (
        good.ndim != 3 or good.shape[1:] != frames.shape[1:] or len(good) not in (1, len(frames))
    ):
        raise InputError(
            f"{raw.source}: the mask is {good.shape}, expected (1, N, N) or one for every frame, "
            f"{frames.shape}"
        )
    full: Any = np.zeros((1, 1, 1), bool)
    if frames.dtype.kind in "iu":
        full = frames == np.iinfo(frames.dtype).max
        _say_masked(full, f"at {np.iinfo(frames.dtype).max}, the largest {frames.dtype}", notes)
    if reading.saturation_counts is not None:
        level = reading.saturation_counts
        if values_in_force(raw, reading) == "amplitude":
            level = level**0.5
        over = frames >= level
        _say_masked(over, f"saturated ({reading.saturation_counts:g} or more)", notes)
        full = full | over
    if not full.any():
        return good
    return ~full if good is None else good & ~full


def _say_masked(pixels: NDArray[np.bool_], why: str, notes: list[str]) -> None:
    if pixels.any():
        notes.append(
            f"{int(pixels.sum())} pixels in {int(pixels.any(axis=(1, 2)).sum())} frames masked: "
            f"{why}"
        )


def values_in_force(raw: Raw, reading: ScanConventions) -> str:
    """Return what pixels hold: as told, as they look, or as the layout has it."""
    if reading.values != "auto":
        return reading.values
    whole = not raw.certain and values_of(raw.frames_nHW) == "intensity"
    return "intensity" if whole else raw.values


def _amplitude(
    raw: Raw,
    reading: ScanConventions,
    frames: Array,
    good: NDArray[np.bool_] | None,
    notes: list[str],
) -> tuple[NDArray[np.float32], float | None]:
    """Return amplitudes, zero where masked, and s with (s A)^2 photons where it is known."""
    used = np.ones((1, 1, 1), bool) if good is None else good
    if not np.broadcast_to(used, frames.shape).any():
        raise InputError(f"{raw.source}: every pixel is masked or saturated; nothing was measured")
    negative = (frames < 0) & used
    if negative.any():
        first = int(np.flatnonzero(negative.any(axis=(1, 2)))[0])
        raise InputError(
            f"{raw.source}: {int(negative.sum())} pixels are negative, the first in frame {first}; "
            "counts and amplitudes are >= 0: mask what marks dead pixels, undo what was subtracted"
        )
    kind = values_in_force(raw, reading)
    whole = values_of(frames) == "intensity"
    with np.errstate(over="ignore", invalid="ignore"):
        real = np.where(used, frames, np.zeros((), frames.dtype))
        if real.dtype.itemsize < 4:
            real = real.astype(np.float32)
        amplitude = (np.sqrt(real) if kind == "intensity" else real).astype(np.float32)
    if np.isinf(amplitude).any() and not np.isinf(real).any():
        raise InputError(
            f"{raw.source}: frames hold {float(real.max()):.3g}, too large for float32"
        )
    if not amplitude.any():
        raise InputError(f"{raw.source}: frames are zero everywhere: no light, no data")
    scale = raw.intensity_scale
    if kind == "intensity":
        notes.append(
            f"{frames.dtype} {'counts' if whole else 'intensities'}: root taken"
            + ("" if reading.values == "auto" else ", as told")
        )
        scale = 1.0 if whole and not raw.certain else scale
    else:
        notes.append("amplitudes" + ("" if reading.values == "auto" else ", as told"))
    return amplitude, scale
