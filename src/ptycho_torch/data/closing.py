"""What reading a file ends in, whatever its layout: mask, stored corrections, light, probe, steps.

Each check gives a note, or an error that names the option which settles it.

Letters: n frames, H rows, W columns (H = W = N), M probe modes.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.prepare import UNITS_M, Kind, centred_probe, kind_of, light_of, values_of
from ptycho_torch.data.scan import Array, Raw, check_array, mask_of, median_step
from ptycho_torch.runtime.errors import InputError

# What detectors write where they have no value: the largest numbers of unsigned and signed
# integers, and the ones below, whatever type they were stored in later; or the root of these.
_NO_VALUE = np.array([2.0**bits - less for bits in (16, 31, 32) for less in (1, 2)])
_MARKS = np.concatenate([_NO_VALUE, np.sqrt(_NO_VALUE)])
# Frames that are looked at for such marks; one of them may lack a mark.
_LOOKED_AT = 9
# Light of a frame over that of the median frame, beyond which it is no frame of this scan: shutter,
# beam loss and pile-up change it by orders of magnitude, specimens seldom tenfold.
_FAR = 10.0
_SETTLE = "; --corrections ignore leaves it as it is"
# Median step of a scan, pixels, and its extent over the window, under which it does not move; and
# its step over the window, beyond which frames have nothing in common.
_STILL_PX, _STILL_WINDOWS, _SPARSE_WINDOWS = 0.25, 0.25, 4


def closed(raw: Raw, reading: ScanConventions) -> Raw:
    """Return what a file holds with its own corrections and mask applied, and without the frames
    that are far from the median light; raises `InputError` where that cannot be right."""
    check_array(raw.source, "positions", raw.positions_n2, "real", (len(raw.frames_nHW), 2))
    if reading.pixel_m:
        raw = replace(raw, pixel_m=(reading.pixel_m, reading.pixel_m))
    kind = kind_of(raw, reading)
    # First what is told by stored numbers, which a correction would change.
    raw = _masked(raw if raw.certain else _without_no_value(raw), kind, reading)
    if not raw.certain:
        raw = _corrected(_without_saturated(raw), kind, reading)
        # A split is a simulation's: frames of a dark part of the object are as good as others.
        raw = _probe(raw if raw.layout == "split" else _of_one_light(raw, kind, reading))
    if raw.unused:
        raw.notes.append(f"not used: {', '.join(raw.unused)}")
    return raw


def _without_no_value(raw: Raw) -> Raw:
    """Mask pixels that hold a detector's mark for "no value" in nearly every frame."""
    count = min(len(raw.frames_nHW), _LOOKED_AT)
    spread = np.linspace(0, len(raw.frames_nHW) - 1, count).astype(int)
    some = raw.frames_nHW[spread].astype(np.float64)
    usual = np.sort(some, axis=0)[(count - 1) // 2]
    equal = (some == usual) | (np.isnan(some) & np.isnan(usual))
    constant = equal.sum(axis=0) >= max(2, count - 1)
    brightest = np.nanmax(usual[~constant], initial=0)
    is_mark = np.isclose(usual[..., None], _MARKS, rtol=1e-6, atol=0).any(axis=-1)
    # Negative, or not a number: no detector counts so.
    marked = constant & ((is_mark & (usual > brightest)) | ~(usual >= 0))
    if not marked.any():
        return raw
    kinds = ", ".join(f"{v:g}" for v in np.unique(usual[marked])[:4])
    raw.notes.append(
        f"{int(marked.sum())} pixels masked: {kinds} in nearly every frame means no value"
    )
    return raw.without(marked)


def _masked(raw: Raw, kind: Kind, reading: ScanConventions) -> Raw:
    """Apply the mask as it is meant, and note what it takes of the light."""
    if raw.mask is None:
        if raw.good_nHW.all():
            raw.notes.append("mask: none, every pixel is used")
        return raw
    name, array, means = raw.mask
    array = array[None] if array.ndim == 2 else array
    shape = raw.frames_nHW.shape
    check_array(raw.source, name, array, "mask", (1, *shape[1:]), shape)
    flagged = array != 0
    total = light_of(raw.frames_nHW, raw.good_nHW, kind).sum() or 1
    share = light_of(raw.frames_nHW, raw.good_nHW & flagged, kind).sum() / total
    chosen = means if reading.mask_means == "auto" else reading.mask_means
    if chosen == "auto":
        chosen = "bad" if share <= 0.5 else "good"
    share, bad = (share, flagged) if chosen == "bad" else (1 - share, ~flagged)
    line = (
        f"mask: {int(bad.sum()) / len(bad):.6g} of {bad[0].size} pixels, {100 * share:.3g} % "
        f"of the light ({name}: what is set is {chosen})"
    )
    if share > 0.5 and reading.mask_means == "auto" and not raw.certain:
        other = "good" if chosen == "bad" else "bad"
        raise InputError(
            f"{raw.source}: {line}, which is most of it; --mask-means {other} reads it the other "
            f"way round, --mask-means {chosen} insists"
        )
    raw.notes.append(line)
    return raw.without(bad)


def _without_saturated(raw: Raw) -> Raw:
    """Mask pixels at the largest value of their integer type."""
    dtype = raw.frames_nHW.dtype
    if dtype.kind not in "iu" or not (over := raw.frames_nHW == np.iinfo(dtype).max).any():
        return raw
    raw.notes.append(
        f"{int(over.sum())} pixels in {int(over.any(axis=(1, 2)).sum())} frames masked: at "
        f"{np.iinfo(dtype).max}, the largest {dtype}"
    )
    return raw.without(over)


def _corrected(raw: Raw, kind: Kind, reading: ScanConventions) -> Raw:
    """Subtract a stored dark field and divide by a stored monitor; `InputError` if it cannot be."""
    names = " and ".join(stored[0] for stored in (raw.dark, raw.monitor) if stored is not None)
    if not names:
        return raw
    if reading.corrections == "ignore":
        raw.notes.append(f"{names} not applied, as requested")
        return raw
    if kind == "amplitude":
        raise InputError(
            f"{raw.source}: has {names}, which correct intensities, and amplitudes{_SETTLE}, and "
            "--values intensity takes the frames as intensities"
        )
    counts = 1.0 if values_of(raw.frames_nHW) == "intensity" else raw.intensity_scale
    frames = raw.frames_nHW.astype(np.float32)
    if raw.dark is not None:
        _subtract_dark(raw, *raw.dark, frames)
    if raw.monitor is not None:
        _divide_by_monitor(raw, *raw.monitor, frames)
    return replace(raw, frames_nHW=frames, values="intensity", intensity_scale=counts)


def _subtract_dark(raw: Raw, name: str, dark: Array, frames: NDArray[np.float32]) -> None:
    sides = frames.shape[1:]
    check_array(raw.source, name, dark, "real", sides, ("n", *sides), cure=_SETTLE)
    level = dark.reshape(-1, *sides).mean(axis=0, dtype=np.float64)
    used = (level > 0) & raw.good_nHW.all(axis=0)
    level = np.where(used, level, 0)
    if (used & (frames.mean(axis=0, dtype=np.float64) < level / 2)).sum() > used.sum() / 2:
        raise InputError(
            f"{raw.source}: {name} is brighter than the frames; was it subtracted already?{_SETTLE}"
        )
    frames -= level.astype(np.float32)
    np.maximum(frames, 0, out=frames)
    raw.notes.append(f"{name} subtracted: {float(level.sum()):.4g} a frame")


def _divide_by_monitor(raw: Raw, name: str, monitor: Array, frames: NDArray[np.float32]) -> None:
    beam = monitor.reshape(-1)
    check_array(raw.source, name, beam, "real", (len(frames),), cure=_SETTLE)
    beam = beam.astype(np.float64)
    if not ((beam >= 0) & np.isfinite(beam)).all() or not beam.any():
        raise InputError(f"{raw.source}: {name} must be > 0 for each frame with light{_SETTLE}")
    # Without a beam there is no frame: it becomes dark, and is left out for it.
    factor = beam / beam[beam > 0].mean()
    frames /= np.where(beam > 0, factor, np.inf).astype(np.float32)[:, None, None]
    low, high = factor[beam > 0].min(), factor.max()
    raw.notes.append(f"frames divided by {name}, {low:.3g} to {high:.3g} of its mean")


def _of_one_light(raw: Raw, kind: Kind, reading: ScanConventions) -> Raw:
    """Leave out frames whose light is far from that of the median frame."""
    light = light_of(raw.frames_nHW, raw.good_nHW, kind)
    if not (light > 0).any():
        return raw  # Says so later, with its reason.
    median = float(np.median(light[light > 0]))
    dark, bright = light < median / _FAR, light > median * _FAR
    far = np.flatnonzero(dark | bright)
    if not len(far):
        return raw
    shown = ", ".join(map(str, far[:8])) + (", ..." if len(far) > 8 else "")
    line = (
        f"{int(dark.sum())} dark and {int(bright.sum())} bright of {len(light)} frames, beyond "
        f"{_FAR:g} times the median light: {shown}"
    )
    if reading.outliers == "keep":
        raw.notes.append(f"{line}; kept, as requested")
        return raw
    # Many bright ones: the median may be that of frames without a beam.
    if 2 * len(far) >= len(light) or 4 * bright.sum() >= len(light):
        raise InputError(
            f"{raw.source}: {line}; that is no scan of one light: give --outliers keep, or choose "
            "the frames (--n-images, --scan-index)"
        )
    raw.notes.append(f"{line}; left out (--outliers keep keeps them)")
    keep = ~(dark | bright)
    return replace(
        raw,
        frames_nHW=raw.frames_nHW[keep],
        positions_n2=raw.positions_n2[keep],
        good_nHW=mask_of(raw.good_nHW, keep),
    )


def _probe(raw: Raw) -> Raw:
    """Say of a probe that it is real, and move one that lies in the corners."""
    probe = raw.probe_MHW
    if probe is None:
        return raw
    if not probe.imag.any():
        raw.notes.append("the probe is real: its phase is taken as 0; is it only a modulus?")
    return replace(raw, probe_MHW=centred_probe(probe, raw.notes))


def check_steps(raw: Raw, corners_n2: NDArray[np.float64]) -> None:
    """Note the scan's steps; `InputError` if it does not move, or frames have nothing in common.

    corners_n2: in pixels. Names the unit that would fit where the geometry is known.
    """
    if len(corners_n2) < 2:
        return
    side, step = raw.frames_nHW.shape[-1], median_step(corners_n2)
    still = step < _STILL_PX and float(np.ptp(corners_n2, axis=0).max()) < _STILL_WINDOWS * side
    raw.notes.append(f"median step {step:.3g} px, window {side} px")
    if raw.certain or not (still or step > _SPARSE_WINDOWS * side):
        return
    what = "is a near field, or so sparse that frames have nothing in common"
    cure = "give --units (with --pixel-m), or mend the positions"
    if raw.pixel_m is not None:
        # From half a pixel to a window.
        pixels = median_step(raw.positions_n2) / max(raw.pixel_m)
        fits = [unit for unit, metres in UNITS_M.items() if 0.5 <= pixels * metres <= side]
        cure = f"its geometry fits --units {fits[0]}" if fits else cure
    raise InputError(
        f"{raw.source}: the scan {'hardly moves' if still else what}: the median step is "
        f"{step:.3g} px of a window of {side} px; are the positions in another unit? {cure}"
    )
