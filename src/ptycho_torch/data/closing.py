"""What reading a file ends in, whatever its layout: stored corrections, mask, light, probe, steps.

Each check gives a note, and is an error where the outcome cannot be right: it names the option that
settles it. What follows from the stored arrays is done here, before any convention applies.

Letters: n frames, H rows, W columns (H = W = N), M probe modes.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import fitting_unit, median_step
from ptycho_torch.data.light import Kind, centred_probe, kind_of, light_of, values_of
from ptycho_torch.data.scan import Array, Raw, check_array, mask_of
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
_SETTLE = "--corrections ignore leaves it as it is"
# Share of a frame's light to the median's, under which it has no beam.
_NO_BEAM = 0.1
# Median step of a scan, pixels, and its extent over the window, under which it does not move; and
# its step over the window, beyond which frames have nothing in common.
_STILL_PX, _STILL_WINDOWS, _SPARSE_WINDOWS = 0.25, 0.25, 4


def closed(raw: Raw, reading: ScanConventions) -> Raw:
    """Return what a file holds with its own corrections and mask applied, and without the frames
    that are far from the median light; raises `InputError` where that cannot be right."""
    notes: list[str] = []
    check_array(raw.source, "positions", raw.positions_n2, "real", (len(raw.frames_nHW), 2))
    kind = kind_of(raw, reading)
    # First what is told by stored numbers, which a correction would change.
    raw = _masked(_without_no_value(raw, notes), kind, reading, notes)
    raw = _without_saturated(raw, notes)
    raw = _corrected(raw, kind, reading, notes)
    if not raw.certain:
        raw = _of_one_light(raw, kind, reading, notes)
    raw = _probe(raw, notes)
    if raw.unused:
        notes.append(f"not used: {', '.join(raw.unused)}")
    return replace(raw, notes=(*raw.notes, *notes))


def _without_no_value(raw: Raw, notes: list[str]) -> Raw:
    """Mask pixels that hold a detector's mark for "no value" in nearly every frame."""
    count = min(len(raw.frames_nHW), _LOOKED_AT)
    if raw.certain or count < 2:
        return raw
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
    notes.append(f"{int(marked.sum())} pixels masked: {kinds} in nearly every frame means no value")
    return raw.without(marked)


def _masked(raw: Raw, kind: Kind, reading: ScanConventions, notes: list[str]) -> Raw:
    """Return the mask that is meant, and note what it takes of the light."""
    if raw.mask is None:
        if raw.good_nHW is None:
            notes.append("mask: none, every pixel is used")
        return raw
    name, array, means = raw.mask
    sides = raw.frames_nHW.shape[1:]
    array = array[None] if array.ndim == 2 else array
    check_array(raw.source, name, array, "mask", (1, *sides), raw.frames_nHW.shape)
    flagged = array != 0
    total = light_of(raw.frames_nHW, raw.good_nHW, kind).sum() or 1
    share = light_of(raw.frames_nHW, raw.without(~flagged).good_nHW, kind).sum() / total
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
    notes.append(line)
    return raw.without(bad)


def _without_saturated(raw: Raw, notes: list[str]) -> Raw:
    """Mask pixels at the largest value of their integer type."""
    dtype = raw.frames_nHW.dtype
    if dtype.kind not in "iu":
        return raw
    top = np.iinfo(dtype).max
    over = raw.frames_nHW == top
    if not over.any():
        return raw
    frames = int(over.any(axis=(1, 2)).sum())
    notes.append(
        f"{int(over.sum())} pixels in {frames} frames masked: at {top}, the largest {dtype}"
    )
    return raw.without(over)


def _corrected(raw: Raw, kind: Kind, reading: ScanConventions, notes: list[str]) -> Raw:
    """Subtract a stored dark field and divide by a stored monitor; `InputError` if that cannot be
    meant."""
    names = " and ".join(stored[0] for stored in (raw.dark, raw.monitor) if stored is not None)
    if not names:
        return raw
    if reading.corrections == "ignore":
        notes.append(f"{names} not applied, as requested")
        return raw
    if kind == "amplitude":
        raise InputError(
            f"{raw.source}: has {names}, which correct intensities, and amplitudes; {_SETTLE}, and "
            "--values intensity takes the frames as intensities"
        )
    counts = 1.0 if values_of(raw.frames_nHW) == "intensity" else raw.intensity_scale
    frames = raw.frames_nHW.astype(np.float32)
    raw = replace(raw, frames_nHW=frames, values="intensity", intensity_scale=counts)
    if raw.dark is not None:
        raw = _less_dark(raw, *raw.dark, notes)
    if raw.monitor is not None:
        _over_monitor(raw, *raw.monitor, notes)
    return raw


def _less_dark(raw: Raw, name: str, dark: Array, notes: list[str]) -> Raw:
    frames, sides = raw.frames_nHW, raw.frames_nHW.shape[1:]
    if dark.dtype.kind not in "fiu" or dark.shape[-2:] != sides or dark.size == 0:
        raise InputError(
            f"{raw.source}: {name} is {dark.shape} {dark.dtype}, expected {sides}; {_SETTLE}"
        )
    level = dark.reshape(-1, *sides).astype(np.float64).mean(axis=0)
    measured = True if raw.good_nHW is None else raw.good_nHW.all(axis=0)
    # Where the dark field itself holds no value there is none to subtract.
    marked = measured & (~np.isfinite(level) | (level > max(1.0, float(frames.max()))))
    if marked.any():
        notes.append(f"{int(marked.sum())} pixels masked: {name} has no value there")
        raw = raw.without(marked)
    level = np.where(measured & ~marked & (level > 0), level, 0)
    used, mean = level > 0, frames.mean(axis=0, dtype=np.float64)
    if used.any() and (mean < level / 2)[used].mean() > 0.5:
        raise InputError(
            f"{raw.source}: {name} is brighter than the frames; was it subtracted already? "
            f"{_SETTLE}"
        )
    np.subtract(frames, level.astype(np.float32), out=frames)
    np.maximum(frames, 0, out=frames)
    notes.append(f"{name} subtracted: {float(level.sum()):.4g} a frame")
    return raw


def _over_monitor(raw: Raw, name: str, monitor: Array, notes: list[str]) -> None:
    frames = raw.frames_nHW
    if monitor.dtype.kind not in "fiu" or monitor.size != len(frames):
        raise InputError(
            f"{raw.source}: {name} is {monitor.shape} {monitor.dtype}, expected a number > 0 for "
            f"each of {len(frames)} frames; {_SETTLE}"
        )
    beam = monitor.reshape(-1).astype(np.float64)
    light = light_of(frames, raw.good_nHW, "intensity")
    lit = light > _NO_BEAM * float(np.median(light))
    if not (np.isfinite(beam) & (beam > 0))[lit].all() or not lit.any():
        raise InputError(f"{raw.source}: {name} must be > 0 for each frame with light; {_SETTLE}")
    # Frames without light are left out for it.
    factor = np.where(lit, beam / beam[lit].mean(), 1.0)
    frames /= factor.astype(np.float32)[:, None, None]
    notes.append(
        f"frames divided by {name}, {factor[lit].min():.3g} to {factor[lit].max():.3g} of its mean"
    )


def _of_one_light(raw: Raw, kind: Kind, reading: ScanConventions, notes: list[str]) -> Raw:
    """Leave out frames whose light is far from that of the median frame."""
    light = light_of(raw.frames_nHW, raw.good_nHW, kind)
    if not (light > 0).any():
        return raw  # Says so later, with its reason.
    median = float(np.median(light[light > 0]))
    dark, bright = light < median / _FAR, light > median * _FAR
    far = np.flatnonzero(dark | bright)
    if not len(far):
        low, high = light.min() / median, light.max() / median
        notes.append(f"light of a frame: {low:.3g} to {high:.3g} times the median")
        return raw
    shown = ", ".join(map(str, far[:8])) + (", ..." if len(far) > 8 else "")
    line = (
        f"{int(dark.sum())} dark and {int(bright.sum())} bright of {len(light)} frames, beyond "
        f"{_FAR:g} times the median light: {shown}"
    )
    if reading.outliers == "keep":
        notes.append(f"{line}; kept, as requested")
        return raw
    # Many bright ones: the median may be that of frames without a beam.
    if 2 * len(far) >= len(light) or 4 * bright.sum() >= len(light):
        raise InputError(
            f"{raw.source}: {line}; that is no scan of one light: give --outliers keep, or choose "
            "the frames (--n-images, --scan-index)"
        )
    notes.append(f"{line}; left out (--outliers keep keeps them)")
    keep = np.setdiff1d(np.arange(len(light)), far)
    return replace(
        raw,
        frames_nHW=raw.frames_nHW[keep],
        positions_n2=raw.positions_n2[keep],
        good_nHW=mask_of(raw.good_nHW, keep),
    )


def _probe(raw: Raw, notes: list[str]) -> Raw:
    """Say of a probe that it is real, and move one that lies in the corners."""
    probe = raw.probe_MHW
    if probe is None or raw.certain:
        return raw
    if not np.iscomplexobj(probe) or not probe.imag.any():
        notes.append("the probe is real: its phase is taken as 0; is it only a modulus?")
    if raw.object_YX is not None and not np.iscomplexobj(raw.object_YX):
        notes.append("the object is real: its phase is taken as 0")
    return replace(raw, probe_MHW=centred_probe(probe, notes))


def check_steps(
    raw: Raw, reading: ScanConventions, corners_n2: NDArray[np.float64], notes: list[str]
) -> None:
    """Note the scan's steps; `InputError` if it does not move, or frames have nothing in common.

    corners_n2: in pixels, as they were understood. Names the unit that would fit where the
    geometry is known.
    """
    if len(corners_n2) < 2:
        return
    # NaN: all frames were taken at one place.
    side, step = raw.frames_nHW.shape[-1], float(np.nan_to_num(median_step(corners_n2)))
    still = step < _STILL_PX and float(np.ptp(corners_n2, axis=0).max()) < _STILL_WINDOWS * side
    apart_too = "; neighbouring frames do not overlap" if step > side else ""
    notes.append(f"median step {step:.3g} px, window {side} px{apart_too}")
    if raw.certain or not (still or step > _SPARSE_WINDOWS * side):
        return
    what = "hardly moves"
    if not still:
        what = "is a near field, or so sparse that frames have nothing in common"
    cure = "give --units (with --pixel-m), or mend the positions"
    pixel = raw.pixel_m if reading.pixel_m is None else (reading.pixel_m, reading.pixel_m)
    if pixel and (unit := fitting_unit(raw.positions_n2, pixel, side)):
        cure = f"its geometry fits --units {unit}"
    raise InputError(
        f"{raw.source}: the scan {what}: the median step is {step:.3g} px of a window of {side} "
        f"px; are the positions in another unit? {cure}"
    )
