"""What stored frames show by themselves: how they are stacked, what a pixel holds, where the light
is and how much of it there is.

Letters: n frames, H rows, W columns (H = W = N).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.scan import Array, Mask, Raw, check_array, mask_of, without_ones
from ptycho_torch.runtime.errors import InputError

Kind = Literal["amplitude", "intensity"]

# The light must be this many times brighter around one place than around the other.
CLEAR = 3.0


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
