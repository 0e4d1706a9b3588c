"""What reading a file ends in, whatever its layout: stored corrections, mask, light, probe, steps.

Each check gives a note, and is an error where the outcome cannot be right: it names the option that
settles it. What follows from the stored arrays is done here, before any convention applies.

Letters: n frames, H rows, W columns (H = W = N), M probe modes.
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.light import (
    Kind,
    centred_probe,
    chunks,
    kind_of,
    light_of,
    saturation,
    values_of,
)
from ptycho_torch.data.scan import Mask, Raw, check_array, mask_of
from ptycho_torch.runtime.errors import InputError

# What detectors write where they have no value: the largest numbers of unsigned and signed
# integers, and the ones below, whatever type they were stored in later.
_MARKERS = tuple(2**bits - less for bits in (16, 31, 32) for less in (1, 2))
# Light of a frame over that of the median frame, beyond which it is no frame of this scan: shutter,
# beam loss and pile-up change it by orders of magnitude, specimens seldom tenfold.
_FAR = 10.0
# Share of the light beyond which a mask hides what was measured.
_MOST = 0.5
# Median step of a scan, pixels, and its extent over the window, under which it does not move.
_STILL_PX, _STILL_WINDOWS = 0.25, 0.25
# Steps in windows, beyond which frames share nothing.
_SPARSE = 4
UNITS_M = {"metres": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}
"""What positions can be in, metres."""


def closed(raw: Raw, reading: ScanConventions) -> Raw:
    """Return what a file holds with its own corrections and mask applied, and without the frames
    that are far from the median light; raises `InputError` where that cannot be right."""
    notes: list[str] = []
    kind = kind_of(raw, reading)
    raw = _without_no_value(_corrected(raw, kind, reading, notes), notes)
    raw = _masked(raw, kind, reading, notes)
    if not raw.certain:
        raw = _lit(raw, kind, reading, notes)
    raw = _probe(raw, notes)
    if raw.unused:
        notes.append(f"not used: {', '.join(raw.unused)}")
    return replace(raw, notes=(*raw.notes, *notes))


def _corrected(raw: Raw, kind: Kind, reading: ScanConventions, notes: list[str]) -> Raw:
    """Subtract a stored dark field and divide by a stored monitor of the beam."""
    names = " and ".join(stored[0] for stored in (raw.dark, raw.monitor) if stored is not None)
    if not names:
        return raw
    settle = "--corrections ignore leaves it as it is"
    if reading.corrections == "ignore":
        notes.append(f"{names} not applied, as requested")
        return raw
    if kind == "amplitude":
        raise InputError(
            f"{raw.source}: has {names}, which correct intensities, and amplitudes; {settle}, and "
            "--values intensity takes the frames as intensities"
        )
    shape = raw.frames_nHW.shape
    frames = raw.frames_nHW.astype(np.float32)
    if raw.dark is not None:
        name, dark = raw.dark
        check_array(raw.source, name, dark, "real", shape[1:], ("dark frames", *shape[1:]))
        level = dark.reshape(-1, *shape[1:]).mean(axis=0).astype(np.float32)
        lit = level > 0
        if lit.any() and (np.median(frames[:, lit], axis=0) < level[lit] / 2).mean() > _MOST:
            raise InputError(
                f"{raw.source}: {name} is brighter than the frames; was it subtracted already? "
                f"{settle}"
            )
        frames = np.maximum(frames - level, 0)
        notes.append(f"{name} subtracted: {float(level.sum()):.4g} a frame")
    if raw.monitor is not None:
        name, monitor = raw.monitor
        check_array(raw.source, name, monitor, "real", (len(frames),))
        if not (np.isfinite(monitor) & (monitor > 0)).all():
            raise InputError(f"{raw.source}: {name} must be > 0 for each frame; {settle}")
        factor = (monitor / monitor.mean()).astype(np.float32)
        light = np.maximum(light_of(frames, raw.good_nHW, kind), 1e-30)
        if np.log(light / factor).std() > np.log(light).std() + 1e-6:
            raise InputError(
                f"{raw.source}: the frames' light does not follow {name}; were they divided by it "
                f"already? {settle}"
            )
        frames /= factor[:, None, None]
        low, high = factor.min(), factor.max()
        notes.append(f"frames divided by {name}, {low:.3g} to {high:.3g} of its mean")
    counts = 1.0 if values_of(raw.frames_nHW) == "intensity" else raw.intensity_scale
    return replace(raw, frames_nHW=frames, values="intensity", intensity_scale=counts)


def _without_no_value(raw: Raw, notes: list[str]) -> Raw:
    """Mask pixels that hold a detector's mark for "no value" in every frame."""
    frames, first = raw.frames_nHW, raw.frames_nHW[0]
    if raw.certain or len(frames) < 2 or frames.dtype.kind not in "fiu":
        return raw
    # Constant pixels first, so that the rest looks at few.
    same = (first != 0) & np.ones(first.shape, bool)
    for part in chunks(frames):
        same &= ((frames[part] == first) | (np.isnan(first) & np.isnan(frames[part]))).all(axis=0)
    if not same.any():
        return raw
    rest = ~same
    most = max(float(np.nanmax(frames[part][:, rest], initial=0)) for part in chunks(frames))
    value = np.where(same, first, 0).astype(np.float64)
    near = [value, np.square(value)] if frames.dtype.kind == "f" else [value]
    marked = np.zeros(first.shape, bool)
    for marker in _MARKERS:
        marked |= np.logical_or.reduce([np.abs(v - marker) <= 1e-6 * marker for v in near])
    marked &= value > most
    marked |= same & ~(value >= 0)  # Negative, or not a number: no detector counts so.
    if not marked.any():
        return raw
    kinds = ", ".join(f"{v:g}" for v in np.unique(first[marked])[:4])
    notes.append(f"{int(marked.sum())} pixels masked: {kinds} in every frame means no value")
    good = ~marked[None] if raw.good_nHW is None else raw.good_nHW & ~marked
    return replace(raw, good_nHW=good)


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
    total = light_of(raw.frames_nHW, raw.good_nHW, kind).sum()
    hides: dict[Literal["auto", "good", "bad"], float] = {
        "bad": light_of(raw.frames_nHW, _and(raw.good_nHW, flagged), kind).sum() / (total or 1),
    }
    hides["good"] = 1 - hides["bad"]
    chosen = means if reading.mask_means == "auto" else reading.mask_means
    if chosen == "auto":
        chosen = min(hides, key=lambda means: hides[means])
    share, good = hides[chosen], flagged if chosen == "good" else ~flagged
    line = (
        f"mask: {int((~good).sum()) / len(good):.6g} of {good[0].size} pixels, {100 * share:.3g} % "
        f"of the light ({name}: what is set is {chosen})"
    )
    if share > _MOST and reading.mask_means == "auto" and not raw.certain:
        other = "good" if chosen == "bad" else "bad"
        raise InputError(
            f"{raw.source}: {line}, which is most of it; --mask-means {other} reads it the other "
            f"way round, --mask-means {chosen} insists"
        )
    notes.append(line)
    return replace(raw, good_nHW=_and(raw.good_nHW, good))


def _and(first: Mask | None, second: Mask) -> Mask:
    return second if first is None else first & second


def _lit(raw: Raw, kind: Kind, reading: ScanConventions, notes: list[str]) -> Raw:
    """Leave out frames whose light is far from that of the median frame."""
    levels = saturation(raw.frames_nHW, kind, reading).values()
    light = light_of(raw.frames_nHW, raw.good_nHW, kind, min(levels, default=np.inf))
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
    if 2 * len(far) >= len(light):
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
    places = np.unique(corners_n2, axis=0)
    if len(places) < 2:
        return
    side = raw.frames_nHW.shape[-1]
    step = float(np.median(scipy.spatial.KDTree(places).query(places, k=2)[0][:, 1]))
    still = step < _STILL_PX and float(np.ptp(places, axis=0).max()) < _STILL_WINDOWS * side
    notes.append(f"median step {step:.3g} px, window {side} px")
    if (not still and step <= _SPARSE * side) or raw.certain:
        return
    what = "hardly moves" if still else "is so sparse that frames have nothing in common"
    cure = "give --units (with --pixel-m), or mend the positions"
    pixel: Any = raw.pixel_m if reading.pixel_m is None else (reading.pixel_m, reading.pixel_m)
    if pixel is not None:
        stored = np.unique(raw.positions_n2, axis=0)
        apart = float(np.median(scipy.spatial.KDTree(stored).query(stored, k=2)[0][:, 1]))
        fitting = [u for u, m in UNITS_M.items() if 0.5 <= apart * m / max(pixel) <= side]
        cure = f"its geometry fits --units {fitting[0]}" if fitting else cure
    raise InputError(
        f"{raw.source}: the scan {what}: the median step is {step:.3g} px of a window of {side} "
        f"px; are the positions in another unit? {cure}"
    )
