"""Objects of a measurement's parts, where they are lit, and what they predict.

Letters: n frames, M probe modes, H rows, W columns, Y rows, X columns of an object. Positions and
boxes are in the coordinates of the scan, (row, column), pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.predict import frame_errors, illuminated, predict_amplitudes
from ptycho_torch.runtime.errors import InputError

Box = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Layer:
    """The object of one part: light_YX is relative to its brightest pixel; probe_MHW is in the
    file's units."""

    object_YX: NDArray[np.complexfloating]
    origin: tuple[int, int]
    light_YX: NDArray[np.floating]
    probe_MHW: NDArray[np.complexfloating]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], part: str) -> "Layer":
        """Take a part's object from the arrays of `objects.npz`."""
        row, column = arrays[f"{part}_origin"].tolist()
        keys = (f"{part}_{key}" for key in ("object", "light", "probe"))
        thing, light, probe = (arrays[key] for key in keys)
        return cls(thing, (row, column), light, probe)

    def on(self, corner: tuple[int, int], shape: tuple[int, int], share: float) -> "Layer":
        """Return this layer on another canvas; what is not lit becomes the mean of what is."""
        lit = illuminated(self.light_YX, share)
        mean = self.object_YX[lit].mean()
        thing = np.full(shape, mean, np.complex64)
        light = np.zeros(shape, np.float32)
        mine, theirs = _overlap(self.origin, self.object_YX.shape, corner, shape)
        thing[theirs] = np.where(lit, self.object_YX, mean)[mine]
        light[theirs] = self.light_YX[mine]
        return Layer(thing, corner, light, self.probe_MHW)

    def cut(self, box: Box, *, margin_px: int = 0) -> NDArray[np.complexfloating]:
        """Return the object in a box of the scan; 1 beyond its canvas."""
        corner = (box[0].start - margin_px, box[1].start - margin_px)
        shape = tuple(part.stop - part.start + 2 * margin_px for part in box)
        thing = np.ones(shape, self.object_YX.dtype)
        mine, theirs = _overlap(self.origin, self.object_YX.shape, corner, shape)
        thing[theirs] = self.object_YX[mine]
        return thing


def _overlap(
    first: Sequence[int], first_shape: Sequence[int], second: Sequence[int], shape: Sequence[int]
) -> tuple[Box, Box]:
    """Return the common part of two canvases, as slices of each."""
    low = [max(a, b) for a, b in zip(first, second, strict=True)]
    ends = zip(first, first_shape, second, shape, strict=True)
    high = [min(a + n, b + m) for a, n, b, m in ends]

    def within(origin: Sequence[int]) -> Box:
        rows, columns = (
            slice(a - o, max(b, a) - o) for a, b, o in zip(low, high, origin, strict=True)
        )
        return rows, columns

    return within(first), within(second)


def predicted(layer: Layer, scan: Scan, share: float) -> NDArray[np.float32]:
    """Return what a layer predicts for a scan's frames, (n, H, W), in the file's units.

    What is not lit is taken for the mean of what is, whoever made the object.
    """
    corner, shape = _canvas(scan, layer)
    whole = layer.on(corner, shape, share)
    return predict_amplitudes(whole.object_YX, layer.probe_MHW, scan.positions_n2, origin=corner)


def covered_shares(layer: Layer, scan: Scan, share: float) -> NDArray[np.float64]:
    """Return which share of the probe's power falls on lit pixels of a layer, for each frame."""
    corner, shape = _canvas(scan, layer)
    lit = illuminated(layer.on(corner, shape, share).light_YX, share)
    power = (np.abs(layer.probe_MHW) ** 2).sum(axis=0)
    side = scan.patch_px
    corners = np.rint(scan.positions_n2).astype(int) - np.array(corner)
    found = [
        (power * lit[row : row + side, column : column + side]).sum() for row, column in corners
    ]
    return np.asarray(found, np.float64) / power.sum()


def _canvas(scan: Scan, layer: Layer) -> tuple[tuple[int, int], tuple[int, int]]:
    low = np.minimum(np.rint(scan.positions_n2.min(axis=0)), layer.origin).astype(int)
    ends = np.array(layer.origin) + layer.object_YX.shape
    high = np.maximum(np.rint(scan.positions_n2.max(axis=0)) + scan.patch_px, ends).astype(int)
    rows, columns = (high - low).tolist()
    return (int(low[0]), int(low[1])), (rows, columns)


def scan_errors(
    predicted_nHW: NDArray[Any], scan: Scan, index: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Return `physics.predict.frame_errors` against a scan's frames, or those of an index."""
    where = np.arange(len(scan)) if index is None else index
    good = scan.good_1HW
    if good is not None and len(good) > 1:
        good = good[where]
    return frame_errors(predicted_nHW, scan.amplitude_nHW[where], good)


def lit_box(layers: Sequence[Layer], share: float) -> Box:
    """Return the largest box all of whose pixels are lit in every layer.

    Raises
    ------
    InputError
        If it is too small to compare anything in.
    """
    low = np.max([layer.origin for layer in layers], axis=0)
    high = np.min([np.add(layer.origin, layer.object_YX.shape) for layer in layers], axis=0)
    shape = (int(high[0] - low[0]), int(high[1] - low[1]))
    corner = (int(low[0]), int(low[1]))
    lit = np.ones(shape, bool)
    for layer in layers:
        mine, _ = _overlap(layer.origin, layer.object_YX.shape, corner, shape)
        lit &= illuminated(layer.light_YX, share)[mine]
    top, left, rows, columns = _largest_rectangle(lit)
    if min(rows, columns) < 16:
        raise InputError(
            f"the parts of this measurement light only {rows} x {columns} px in common; make "
            "real_data.held_out or scores.lit_share smaller"
        )
    top, left = top + int(low[0]), left + int(low[1])
    return slice(top, top + rows), slice(left, left + columns)


def _largest_rectangle(lit: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return top, left, rows, columns of the largest rectangle of true pixels."""
    best = (0, 0, 0, 0)
    heights = np.zeros(lit.shape[1] + 1, int)
    for bottom, row in enumerate(lit):
        heights[:-1] = np.where(row, heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []
        for column, height in enumerate(heights.tolist()):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if tall * (column - start) > best[2] * best[3]:
                    best = (bottom - tall + 1, start, tall, column - start)
            stack.append((start, height))
    return best
