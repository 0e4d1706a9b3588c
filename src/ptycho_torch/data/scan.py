"""A measured scan in one type, and what a reader takes from a file before any convention applies.

Letters: n frames, H rows, W columns (H = W), M probe modes, Y rows, X columns of the object.
Positions are the (row, column) of a window's upper left corner in the object, in pixels of the
object plane, fractional. Masks say which pixels were measured, (n, H, W) or (1, H, W).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]
Mask = NDArray[np.bool_]
_KINDS = {"real": "fiu", "complex": "fiuc", "mask": "fiub"}
_NAMES = {
    ("dark",): "dark dark_field darkfield data_dark dark_frame dark_frames background",
    ("monitor",): "monitor beam_monitor ion_chamber i0 I0",
    ("mask", "good"): "good_pixels valid_pixels",
    ("mask", "auto"): "mask",
    ("mask", "bad"): "pixel_mask bad_pixels",
}
ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
"""What arrays of these names are for, in any layout; of a mask also what is set in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Arrays as they were stored, and the layout's conventions, in force where settings say auto.

    positions_n2: (row, column) of what `origin` says, in `units`; good_nHW: pixels that were
    measured, as far as it is known; mask, dark, monitor: arrays with their names, still to be
    applied; unused: names of those that nothing reads; pixel_m: (height, width) of a pixel of the
    object plane; certain: this project wrote the file, so that nothing need be told from the
    frames; notes: what was done, which each step adds to.
    """

    source: str
    layout: Literal["npz", "cxi", "split"]
    frames_nHW: Array
    positions_n2: NDArray[np.float64]
    probe_MHW: Array | None = None
    object_YX: Array | None = None
    good_nHW: Mask = field(default_factory=lambda: np.ones((1, 1, 1), bool))
    mask: tuple[str, Array, Literal["auto", "good", "bad"]] | None = None
    dark: tuple[str, Array] | None = None
    monitor: tuple[str, Array] | None = None
    unused: tuple[str, ...] = ()
    intensity_scale: float | None = None
    values: Literal["amplitude", "intensity"] = "amplitude"
    zero_frequency: Literal["centre", "corner"] = "centre"
    origin: Literal["corner", "centre", "middle"] = "corner"
    units: Literal["pixels", "metres"] = "pixels"
    pixel_m: tuple[float, float] | None = None
    certain: bool = False
    notes: list[str] = field(default_factory=list)

    def without(self, bad: Mask) -> Self:
        """Return the same with more pixels masked; `bad` broadcasts with the frames."""
        return replace(self, good_nHW=self.good_nHW & ~bad.reshape(-1, *bad.shape[-2:]))


def check_array(
    source: str, name: str, array: Array, kind: str, *shapes: tuple[str | int, ...], cure: str = ""
) -> None:
    """Raise `InputError` unless an array has one of these shapes and a type of the kind.

    kind: `real`, `complex` (or real) or `mask` (any of integers, reals, booleans); shapes: a side
    each: a number, or a letter, which stands for any number > 0, everywhere the same.
    """
    if array.dtype.kind in _KINDS[kind] and any(_fits(array.shape, shape) for shape in shapes):
        return
    expected = " or ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
    raise InputError(
        f"{source}: '{name}' is {array.shape} {array.dtype}, expected {kind} {expected}{cure}"
    )


def _fits(found: tuple[int, ...], expected: tuple[str | int, ...]) -> bool:
    letters: dict[str, int] = {}
    return len(found) == len(expected) and all(
        side > 0 and side == (want if isinstance(want, int) else letters.setdefault(want, side))
        for side, want in zip(found, expected, strict=True)
    )


def by_role(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Raw` for arrays by their names or paths, the first for each."""
    fields: dict[str, Any] = {}
    for name, array in arrays.items():
        role, *means = ROLES.get(name.rpartition("/")[2], ("",))
        if role:
            fields.setdefault(role, (name, array, *means))
    return fields


def without_ones(array: Array, ndim: int) -> Array:
    """Return an array without axes of length one, from the first on, while it has over `ndim`."""
    ones = [axis for axis, side in enumerate(array.shape) if side == 1]
    return array.squeeze(tuple(ones[: max(0, array.ndim - ndim)]))


def complex_array(
    source: str, name: str, array: Array | None, *shapes: tuple[str | int, ...]
) -> Array | None:
    """Return a probe or object of one of these shapes (see `check_array`), axes of one dropped;
    None stays None. `InputError` also for a pair of real arrays, like parts of a complex one."""
    if array is None:
        return None
    array = without_ones(array, max(map(len, shapes)))
    if array.ndim > 2 and 2 in array.shape and not np.iscomplexobj(array):
        raise InputError(
            f"{source}: '{name}' is {array.shape} {array.dtype}: two real arrays, which look like "
            "real and imaginary part, or modulus and phase; store it complex (two modes without a "
            "phase as well)"
        )
    check_array(source, name, array, "complex", *shapes)
    return array


def probe_modes(source: str, name: str, probe: Array | None) -> Array | None:
    """Return a probe as modes (M, H, W); None stays None, `InputError` if it is none."""
    probe = complex_array(source, name, probe, ("N", "N"), ("M", "N", "N"))
    return None if probe is None else probe.reshape(-1, *probe.shape[-2:])


def median_step(positions_n2: NDArray[np.float64]) -> float:
    """Return the median distance of a place to the nearest other one, in the positions' unit; 0
    where there is one place alone."""
    places = np.unique(positions_n2[np.isfinite(positions_n2).all(axis=1)], axis=0)
    if len(places) < 2:
        return 0.0
    return float(np.median(scipy.spatial.KDTree(places).query(places, k=2)[0][:, 1]))


def mask_of(good: Mask, frames: Any) -> Mask:
    """Return the mask of some frames; one mask for all stays as it is."""
    return good if len(good) == 1 else good[frames]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Frames, where they were taken, and what is known of probe and object.

    source: what it was read from, for messages; amplitude_nHW: root of the measured intensity,
    >= 0, the zero frequency at [H // 2, W // 2]; positions_n2: the smallest is >= 0 where there is
    an object; object_YX: known, or guessed, transmission; good_1HW: None: every pixel was measured;
    intensity_scale: s, (s A)^2 are photons, 1 where frames were counts, None: not known; notes:
    what the reader recognised and did, in words. `InputError` if parts do not belong together or
    hold what cannot be measured.
    """

    source: str
    amplitude_nHW: NDArray[np.float32]
    positions_n2: NDArray[np.float64]
    probe_MHW: NDArray[np.complex64] | None = None
    object_YX: NDArray[np.complex64] | None = None
    good_1HW: Mask | None = None
    intensity_scale: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def patch_px(self) -> int:
        """Side of a frame, pixels."""
        return int(self.amplitude_nHW.shape[-1])

    @property
    def used(self) -> Mask:
        """Which pixels were measured; broadcasts with the frames."""
        return np.ones((1, 1, 1), bool) if self.good_1HW is None else self.good_1HW

    def take(self, frames: NDArray[np.int64] | slice) -> Self:
        """Return a scan of some frames."""
        return replace(
            self,
            amplitude_nHW=self.amplitude_nHW[frames],
            positions_n2=self.positions_n2[frames],
            good_1HW=None if self.good_1HW is None else mask_of(self.good_1HW, frames),
        )

    def summary(self) -> str:
        """Return what there is, in a line."""
        (row, column), (last_row, last_column) = self.positions_n2.min(0), self.positions_n2.max(0)
        probe = "no probe" if self.probe_MHW is None else f"probe of {len(self.probe_MHW)} mode(s)"
        thing = "no object" if self.object_YX is None else f"object of {self.object_YX.shape} px"
        light = "photons not known"
        if (scale := self.intensity_scale) is not None:
            # Without a copy of all frames in double precision.
            frames = self.amplitude_nHW
            photons = np.einsum("nHW,nHW", frames, frames, dtype=np.float64) / len(self) * scale**2
            light = f"{photons:.4g} photons a frame (intensity_scale {scale:.6g})"
        return (
            f"{len(self)} frames of {self.patch_px} x {self.patch_px} px, rows {row:.2f} to "
            f"{last_row:.2f}, columns {column:.2f} to {last_column:.2f} px, {probe}, {thing}, "
            f"{light}"
        )

    def __len__(self) -> int:
        return len(self.amplitude_nHW)

    def __post_init__(self) -> None:
        side, source = self.patch_px, self.source
        for key, shape in (("probe_MHW", ("M", side, side)), ("object_YX", ("Y", "X"))):
            if (array := getattr(self, key)) is not None:
                check_array(source, key, array, "complex", shape)
                if not np.isfinite(array).all() or not array.any():
                    raise InputError(f"{source}: {key} is not finite, or zero everywhere")
        used = np.broadcast_to(self.used, self.amplitude_nHW.shape)
        frames = zip(self.amplitude_nHW, used, strict=True)
        bad = np.flatnonzero([not np.isfinite(a).all(where=good) for a, good in frames])
        if len(bad):
            raise InputError(
                f"{source}: {len(bad)} of {len(self)} frames hold NaN or infinity (or what is too "
                f"large for float32), the first is frame {bad[0]}; remove it, or mask those pixels"
            )
        low = np.rint(self.positions_n2.min(axis=0))
        high = np.rint(self.positions_n2.max(axis=0)) + side
        thing = self.object_YX
        if thing is not None and ((low < 0).any() or (high > thing.shape).any()):
            raise InputError(
                f"{source}: windows reach from {low.tolist()} to {high.tolist()} px, outside "
                f"the object of {thing.shape} px; are the positions in pixels, and of the corner?"
            )
