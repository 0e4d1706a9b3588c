"""A dark field and a monitor of the beam that a file holds beside its frames.

Letters: n frames, H rows, W columns.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.light import Kind, chunks, light_of, values_of
from ptycho_torch.data.scan import Array, Raw
from ptycho_torch.runtime.errors import InputError

_SETTLE = "--corrections ignore leaves it as it is"
# Share of the pixels, and of a frame's light to the median's, from which a correction is no such.
_MOST, _NO_BEAM = 0.5, 0.1
# A monitor may follow noise so far: by how much it may widen the frames' light.
_WIDER = 0.02


def corrected(raw: Raw, kind: Kind, reading: ScanConventions, notes: list[str]) -> Raw:
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
    frames, good, sides = raw.frames_nHW, raw.good_nHW, raw.frames_nHW.shape[1:]
    if dark.dtype.kind not in "fiu" or dark.shape[-2:] != sides or dark.size == 0:
        raise InputError(
            f"{raw.source}: {name} is {dark.shape} {dark.dtype}, expected {sides}; {_SETTLE}"
        )
    level = dark.reshape(-1, *sides).astype(np.float64).mean(axis=0)
    mean = sum(frames[part].sum(axis=0, dtype=np.float64) for part in chunks(frames)) / len(frames)
    measured = np.ones(sides, bool) if good is None else good.all(axis=0)
    # Where the dark field itself holds no value there is none to subtract.
    marked = measured & (~np.isfinite(level) | (level > max(1.0, float(frames.max()))))
    if marked.any():
        notes.append(f"{int(marked.sum())} pixels masked: {name} has no value there")
        raw = raw.without(marked)
    used = measured & ~marked & (level > 0)
    if used.any() and (mean[used] < level[used] / 2).mean() > _MOST:
        raise InputError(
            f"{raw.source}: {name} is brighter than the frames; was it subtracted already? "
            f"{_SETTLE}"
        )
    level = np.where(used, level, 0)
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
    light: NDArray[np.float64] = light_of(frames, raw.good_nHW, "intensity")
    lit = light > _NO_BEAM * float(np.median(light))
    known = np.isfinite(beam) & (beam > 0)
    if (lit & ~known).any() or not lit.any():
        raise InputError(f"{raw.source}: {name} must be > 0 for each frame with light; {_SETTLE}")
    factor = np.where(lit, beam, 1.0) / beam[lit].mean()
    factor[~lit] = 1.0  # Those are left out for their light.
    before, after = (float(np.log(x[lit]).std()) for x in (light, light / factor))
    if after > before + _WIDER:
        raise InputError(
            f"{raw.source}: the frames' light does not follow {name}; were they divided by it "
            f"already? {_SETTLE}"
        )
    frames /= factor.astype(np.float32)[:, None, None]
    low, high = factor[lit].min(), factor[lit].max()
    notes.append(f"frames divided by {name}, {low:.3g} to {high:.3g} of its mean")
