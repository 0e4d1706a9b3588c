"""What reading a file ends in, whatever its layout: stored corrections, mask, light, probe, steps.

Each check gives a note, and is an error where the outcome cannot be right: it names the option that
settles it. What follows from the stored arrays is done here, before any convention applies.

Letters: n frames, H rows, W columns (H = W = N), M probe modes.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.corrections import corrected
from ptycho_torch.data.geometry import SPARSE, fitting_unit, median_step
from ptycho_torch.data.light import Kind, centred_probe, chunks, kind_of, light_of
from ptycho_torch.data.scan import Raw, check_array, mask_of
from ptycho_torch.runtime.errors import InputError

# What detectors write where they have no value: the largest numbers of unsigned and signed
# integers, and the ones below, whatever type they were stored in later.
_MARKERS = tuple(2**bits - less for bits in (16, 31, 32) for less in (1, 2))
# Light of a frame over that of the median frame, beyond which it is no frame of this scan: shutter,
# beam loss and pile-up change it by orders of magnitude, specimens seldom tenfold.
_FAR = 10.0
# Share of the frames in which a pixel that holds no value has its mark.
_NEARLY_ALL = 0.9
# Share of the light beyond which a mask hides what was measured.
_MOST = 0.5
# Median step of a scan, pixels, and its extent over the window, under which it does not move.
_STILL_PX, _STILL_WINDOWS = 0.25, 0.25


def closed(raw: Raw, reading: ScanConventions) -> Raw:
    """Return what a file holds with its own corrections and mask applied, and without the frames
    that are far from the median light; raises `InputError` where that cannot be right."""
    notes: list[str] = []
    check_array(raw.source, "positions", raw.positions_n2, "real", (len(raw.frames_nHW), 2))
    kind = kind_of(raw, reading)
    # First what is told by stored numbers, which a correction would change.
    raw = _masked(_without_no_value(raw, notes), kind, reading, notes)
    raw = _without_saturated(raw, kind, reading, notes)
    raw = corrected(raw, kind, reading, notes)
    if not raw.certain:
        raw = _of_one_light(raw, kind, reading, notes)
    raw = _probe(raw, notes)
    if raw.unused:
        notes.append(f"not used: {', '.join(raw.unused)}")
    return replace(raw, notes=(*raw.notes, *notes))


def _without_no_value(raw: Raw, notes: list[str]) -> Raw:
    """Mask pixels that hold a detector's mark for "no value" in nearly every frame."""
    frames = raw.frames_nHW
    if raw.certain or len(frames) < 2 or frames.dtype.kind not in "fiu":
        return raw
    # What most frames hold, so that one odd frame hides no mark.
    some = np.linspace(0, len(frames) - 1, min(len(frames), 9)).astype(int)
    usual = np.sort(frames[some], axis=0)[(len(some) - 1) // 2]
    count = np.zeros(usual.shape, np.int64)
    for part in chunks(frames):
        equal = (frames[part] == usual) | (np.isnan(usual) & np.isnan(frames[part]))
        count += equal.sum(axis=0)
    same = (usual != 0) & (count >= min(len(frames), max(2, _NEARLY_ALL * len(frames))))
    if not same.any():
        return raw
    most = float(np.nanmax(usual[~same], initial=0))
    value = np.where(same, usual, 0).astype(np.float64)
    near = [value, np.square(value)] if frames.dtype.kind == "f" else [value]
    marked = np.zeros(usual.shape, bool)
    for marker in _MARKERS:
        marked |= np.logical_or.reduce([np.abs(v - marker) <= 1e-6 * marker for v in near])
    marked &= value > most
    marked |= same & ~(value >= 0)  # Negative, or not a number: no detector counts so.
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
    if share > _MOST and reading.mask_means == "auto" and not raw.certain:
        other = "good" if chosen == "bad" else "bad"
        raise InputError(
            f"{raw.source}: {line}, which is most of it; --mask-means {other} reads it the other "
            f"way round, --mask-means {chosen} insists"
        )
    notes.append(line)
    return raw.without(bad)


def _without_saturated(raw: Raw, kind: Kind, reading: ScanConventions, notes: list[str]) -> Raw:
    """Mask pixels at the largest value of their integer type, or of the given counts or more."""
    levels: dict[str, float] = {}
    if raw.frames_nHW.dtype.kind in "iu":
        top = np.iinfo(raw.frames_nHW.dtype).max
        levels[f"at {top}, the largest {raw.frames_nHW.dtype}"] = top
    if (counts := reading.saturation_counts) is not None:
        level = counts**0.5 if kind == "amplitude" else counts
        levels[f"saturated ({counts:g} or more)"] = level
    for why, level in levels.items():
        over = raw.frames_nHW >= level
        if over.any():
            frames = int(over.any(axis=(1, 2)).sum())
            notes.append(f"{int(over.sum())} pixels in {frames} frames masked: {why}")
            raw = raw.without(over)
    return raw


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
    side, step = raw.frames_nHW.shape[-1], median_step(corners_n2)
    if np.isnan(step):
        return
    still = step < _STILL_PX and float(np.ptp(corners_n2, axis=0).max()) < _STILL_WINDOWS * side
    apart_too = "; neighbouring frames do not overlap" if step > side else ""
    notes.append(f"median step {step:.3g} px, window {side} px{apart_too}")
    if (not still and step <= SPARSE * side) or raw.certain:
        return
    what = "hardly moves" if still else "is so sparse that frames have nothing in common"
    cure = "give --units (with --pixel-m), or mend the positions"
    pixel: Any = raw.pixel_m if reading.pixel_m is None else (reading.pixel_m, reading.pixel_m)
    if pixel is not None:
        unit = fitting_unit(raw.positions_n2, pixel, side)
        cure = f"its geometry fits --units {unit}" if unit else cure
    raise InputError(
        f"{raw.source}: the scan {what}: the median step is {step:.3g} px of a window of {side} "
        f"px; are the positions in another unit? {cure}"
    )
