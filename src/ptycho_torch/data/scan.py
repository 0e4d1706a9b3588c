"""A measured scan in one type, whatever file it came from; and what a layout's reader takes from a
file before any convention is applied.

Letters: n frames, H rows, W columns (H = W), M probe modes, Y rows, X columns of the object.
Positions are the (row, column) of a frame's window in the object, upper left corner, in pixels of
the object plane, fractional.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]
_KINDS = {"real": "fiu", "complex": "fiuc", "boolean": "b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Arrays as they were stored, and what the layout says of them.

    values, zero_frequency, origin: the layout's convention, in force where `ScanConventions` says
    auto.
    """

    source: str
    layout: Literal["npz", "cxi", "split", "tike"]
    frames_nHW: Array
    positions_n2: NDArray[np.float64]
    """(row, column) of what `origin` says, in `units`."""
    probe_MHW: Array | None = None
    object_YX: Array | None = None
    good_nHW: NDArray[np.bool_] | None = None
    """(1, H, W) or (n, H, W)."""
    intensity_scale: float | None = None
    values: Literal["amplitude", "intensity"] = "amplitude"
    zero_frequency: Literal["centre", "corner"] = "centre"
    origin: Literal["corner", "centre", "middle"] = "corner"
    units: Literal["pixels", "metres"] = "pixels"
    pixel_m: tuple[float, float] | None = None
    """(height, width) of a pixel of the object plane, if the file says so."""
    pixel_missing: str = "the file has no geometry"
    """Why there is no `pixel_m`."""
    certain: bool = False
    """Whether this project wrote the file, so that nothing need be told from the frames."""
    notes: tuple[str, ...] = ()


def check_array(
    source: str, name: str, array: Array, kind: str, *shapes: tuple[str | int, ...]
) -> None:
    """Raise `InputError` unless an array has one of these shapes and a type of the kind.

    Parameters
    ----------
    kind
        `real`, `complex` (or real) or `boolean`.
    shapes
        A side each: a number, or a letter, which stands for any number > 0, everywhere the same.
    """
    if array.dtype.kind in _KINDS[kind] and any(_fits(array.shape, shape) for shape in shapes):
        return
    expected = " or ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
    cure = "; is it a simulated wave?" if kind == "real" and array.dtype.kind == "c" else ""
    raise InputError(
        f"{source}: '{name}' is {array.shape} {array.dtype}, expected {kind} {expected}{cure}"
    )


def _fits(found: tuple[int, ...], expected: tuple[str | int, ...]) -> bool:
    letters: dict[str, int] = {}
    return len(found) == len(expected) and all(
        side > 0 and side == (want if isinstance(want, int) else letters.setdefault(want, side))
        for side, want in zip(found, expected, strict=True)
    )


def probe_modes(source: str, name: str, probe: Array | None) -> Array | None:
    """Return a probe as modes (M, H, W); axes of length one in front are dropped."""
    if probe is None:
        return None
    while probe.ndim > 3 and len(probe) == 1:
        probe = probe[0]
    check_array(source, name, probe, "complex", ("N", "N"), ("M", "N", "N"))
    return probe.reshape(-1, *probe.shape[-2:])


def object_plane(source: str, name: str, thing: Array | None) -> Array | None:
    """Return an object as (Y, X); axes of length one in front or behind are dropped."""
    if thing is None:
        return None
    plane = thing[..., 0] if thing.ndim > 2 and thing.shape[-1] == 1 else thing
    while plane.ndim > 2 and len(plane) == 1:
        plane = plane[0]
    check_array(source, name, plane, "complex", ("Y", "X"))
    return plane


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
        side = self.patch_px
        check_array(self.source, "frames", self.amplitude_nHW, "real", ("n", "N", "N"))
        for key, array, shape in (
            ("probe_MHW", self.probe_MHW, ("M", side, side)),
            ("object_YX", self.object_YX, ("Y", "X")),
        ):
            if array is not None:
                check_array(self.source, key, array, "complex", shape)
                if not np.isfinite(array).all() or not array.any():
                    raise InputError(f"{self.source}: {key} is not finite, or zero everywhere")
        bad = ~np.isfinite(self.amplitude_nHW)
        if self.good_1HW is not None:
            shapes = (1, side, side), (len(self), side, side)
            check_array(self.source, "mask", self.good_1HW, "boolean", *shapes)
            bad &= self.good_1HW
        if bad.any():
            frames = np.flatnonzero(bad.any(axis=(1, 2)))
            raise InputError(
                f"{self.source}: {len(frames)} of {len(self)} frames hold NaN or infinity, the "
                f"first is frame {frames[0]}; remove them, or mask those pixels"
            )
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
