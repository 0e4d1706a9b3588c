"""A measured scan in one type, whatever file it came from.

Letters: n frames, H rows, W columns (H = W), M probe modes, Y rows, X columns of the object.
Positions are the (row, column) of a frame's window in the object, upper left corner, in pixels of
the object plane, fractional.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Frames, where they were taken, and what is known of probe and object.

    Raises
    ------
    InputError
        If parts do not belong together or hold what cannot be measured; names the source.
    """

    source: str
    """What it was read from, for messages: a path, or a name."""

    amplitude_nHW: NDArray[np.float32]
    """Root of the measured intensity, >= 0; the zero frequency at [H // 2, W // 2]."""

    positions_n2: NDArray[np.float64]
    """Corners of the windows, pixels; the smallest is >= 0 where there is an object."""

    probe_MHW: NDArray[np.complex64] | None = None
    """Probe modes in a frame's window; None: the file has none."""

    object_YX: NDArray[np.complex64] | None = None
    """Known, or guessed, transmission; None: the file has none."""

    good_1HW: NDArray[np.bool_] | None = None
    """(1, H, W) or (n, H, W): which pixels were measured; None: all."""

    intensity_scale: float | None = None
    """s: (s A)^2 are photons; 1 where frames were counts; None: not known."""

    notes: tuple[str, ...] = ()
    """What the reader recognised and did, in words."""

    @property
    def patch_px(self) -> int:
        """Side of a frame, pixels."""
        return int(self.amplitude_nHW.shape[-1])

    def summary(self) -> str:
        """Return what there is, in a line."""
        low, high = self.positions_n2.min(axis=0), self.positions_n2.max(axis=0)
        has = "no probe" if self.probe_MHW is None else f"probe of {len(self.probe_MHW)} mode(s)"
        thing = "no object" if self.object_YX is None else f"object of {_by(self.object_YX)} px"
        photons = np.square(self.amplitude_nHW, dtype=np.float64).sum() / len(self)
        scale = self.intensity_scale
        light = (
            "photons not known"
            if scale is None
            else f"{photons * scale**2:.4g} photons a frame (intensity_scale {scale:.6g})"
        )
        return (
            f"{len(self)} frames of {_by(self.amplitude_nHW)} px, rows {low[0]:.2f} to "
            f"{high[0]:.2f}, columns {low[1]:.2f} to {high[1]:.2f} px, {has}, {thing}, {light}"
        )

    def __len__(self) -> int:
        return len(self.amplitude_nHW)

    def __post_init__(self) -> None:
        _check_frames(self)
        _check_positions(self)
        for key, side in (("probe_MHW", self.patch_px), ("object_YX", None)):
            _check_complex(self, key, side)


def _by(array: Array) -> str:
    return f"{array.shape[-2]} x {array.shape[-1]}"


def _check_frames(scan: Scan) -> None:
    shape = scan.amplitude_nHW.shape
    if len(shape) != 3 or 0 in shape or shape[1] != shape[2]:
        raise InputError(f"{scan.source}: frames are {shape}, expected (n, N, N) with n, N > 0")
    good = scan.good_1HW
    if good is not None and (good.shape[1:] != shape[1:] or len(good) not in (1, shape[0])):
        raise InputError(
            f"{scan.source}: the mask is {good.shape}, expected (1, {shape[1]}, {shape[2]}) or "
            f"{shape}"
        )
    bad = ~np.isfinite(scan.amplitude_nHW)
    if good is not None:
        bad = bad & good
    if bad.any():
        frames = np.flatnonzero(bad.any(axis=(1, 2)))
        raise InputError(
            f"{scan.source}: {len(frames)} of {shape[0]} frames hold NaN or infinity, the first is "
            f"frame {frames[0]}; remove them, or mask those pixels"
        )


def _check_positions(scan: Scan) -> None:
    positions, frames = scan.positions_n2, len(scan.amplitude_nHW)
    if positions.shape != (frames, 2):
        raise InputError(
            f"{scan.source}: {frames} frames, but positions are {positions.shape}; expected "
            f"({frames}, 2)"
        )
    if not np.isfinite(positions).all():
        first = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise InputError(f"{scan.source}: the position of frame {first} is not finite")
    if scan.object_YX is None:
        return
    low, high = np.rint(positions.min(axis=0)), np.rint(positions.max(axis=0)) + scan.patch_px
    if (low < 0).any() or (high > scan.object_YX.shape).any():
        raise InputError(
            f"{scan.source}: windows reach from {low.tolist()} to {high.tolist()} px, outside the "
            f"object of {scan.object_YX.shape} px; are the positions in pixels, and of the corner?"
        )


def _check_complex(scan: Scan, key: str, side: int | None) -> None:
    array: Array | None = getattr(scan, key)
    if array is None:
        return
    axes = 2 if side is None else 3
    if array.ndim != axes or 0 in array.shape or (side and array.shape[1:] != (side, side)):
        expected = "(Y, X)" if side is None else f"(M, {side}, {side}), the frames' size"
        raise InputError(f"{scan.source}: {key} is {array.shape}, expected {expected}")
    if not np.isfinite(array).all() or not np.abs(array).sum() > 0:
        raise InputError(f"{scan.source}: {key} is not finite, or zero everywhere")
