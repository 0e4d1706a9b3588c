"""A measured scan in one type, whatever file it came from.

Letters: n frames, H rows, W columns (H = W), M probe modes, Y rows, X columns of the object.
Positions are the (row, column) of a frame's window in the object, upper left corner, in pixels of
the object plane, fractional.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.raw import check_array
from ptycho_torch.runtime.errors import InputError


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
        probe, thing, scale = self.probe_MHW, self.object_YX, self.intensity_scale
        light = "photons not known"
        if scale is not None:
            photons = np.square(self.amplitude_nHW, dtype=np.float64).sum() / len(self) * scale**2
            light = f"{photons:.4g} photons a frame (intensity_scale {scale:.6g})"
        return (
            f"{len(self)} frames of {self.patch_px} x {self.patch_px} px, rows {low[0]:.2f} to "
            f"{high[0]:.2f}, columns {low[1]:.2f} to {high[1]:.2f} px, "
            f"{'no probe' if probe is None else f'probe of {len(probe)} mode(s)'}, "
            f"{'no object' if thing is None else 'object of {} x {} px'.format(*thing.shape)}, "
            f"{light}"
        )

    def __len__(self) -> int:
        return len(self.amplitude_nHW)

    def __post_init__(self) -> None:
        self._check_frames()
        self._check_positions()
        shapes: dict[str, tuple[str | int, ...]] = {
            "probe_MHW": ("M", self.patch_px, self.patch_px),
            "object_YX": ("Y", "X"),
        }
        for key, shape in shapes.items():
            array = getattr(self, key)
            if array is not None:
                check_array(self.source, key, array, "complex", shape)
                if not np.isfinite(array).all() or not array.any():
                    raise InputError(f"{self.source}: {key} is not finite, or zero everywhere")

    def _check_frames(self) -> None:
        check_array(self.source, "frames", self.amplitude_nHW, "real", ("n", "N", "N"))
        bad = ~np.isfinite(self.amplitude_nHW)
        if self.good_1HW is not None:
            n, *sides = self.amplitude_nHW.shape
            check_array(self.source, "mask", self.good_1HW, "boolean", (1, *sides), (n, *sides))
            bad &= self.good_1HW
        if bad.any():
            frames = np.flatnonzero(bad.any(axis=(1, 2)))
            raise InputError(
                f"{self.source}: {len(frames)} of {len(self)} frames hold NaN or infinity, the "
                f"first is frame {frames[0]}; remove them, or mask those pixels"
            )

    def _check_positions(self) -> None:
        check_array(self.source, "positions", self.positions_n2, "real", (len(self), 2))
        low = np.rint(self.positions_n2.min(axis=0))
        high = np.rint(self.positions_n2.max(axis=0)) + self.patch_px
        if self.object_YX is not None and (
            (low < 0).any() or (high > self.object_YX.shape[-2:]).any()
        ):
            raise InputError(
                f"{self.source}: windows reach from {low.tolist()} to {high.tolist()} px, outside "
                f"the object of {self.object_YX.shape} px; are the positions in pixels, and of the "
                "corner?"
            )
