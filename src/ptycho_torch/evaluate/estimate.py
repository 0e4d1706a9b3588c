"""Objects of a measurement's parts, where they are illuminated, and what they predict.

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
Point = Sequence[int] | NDArray[np.int64]
# Sides under this are too small to compare anything in, pixels.
_LEAST_PX = 16


@dataclass(frozen=True, slots=True)
class ObjectEstimate:
    """The object of one part: origin is the position of its pixel [0, 0], light_YX how much light
    fell on it, in any unit; probe_MHW is in the file's units."""

    object_YX: NDArray[np.complexfloating]
    origin: tuple[int, int]
    light_YX: NDArray[np.floating]
    probe_MHW: NDArray[np.complexfloating]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], part: str) -> "ObjectEstimate":
        """Take a part's object from the arrays of `objects.npz`."""
        row, column = arrays[f"{part}_origin"].tolist()
        thing, light, probe = (arrays[f"{part}_{key}"] for key in ("object", "light", "probe"))
        return cls(thing, (row, column), light, probe)

    def cut(self, box: Box, *, margin_px: int = 0) -> NDArray[np.complexfloating]:
        """Return the object in a box of the scan; 1 beyond its canvas."""
        corner = [part.start - margin_px for part in box]
        shape = [part.stop - part.start + 2 * margin_px for part in box]
        return _placed(self.object_YX, self.origin, corner, shape, 1)

    def predict(self, scan: Scan, share: float) -> NDArray[np.float32]:
        """Return what it predicts for a scan's frames, (n, H, W), in the file's units.

        What is not illuminated by `share` of the most light is taken for the mean of what is,
        whoever made the object.
        """
        known = illuminated(self.light_YX, share)
        mean = self.object_YX[known].mean()
        corner, shape = self._canvas(scan)
        thing = np.where(known, self.object_YX, mean).astype(np.complex64)
        whole = _placed(thing, self.origin, corner, shape, mean)
        where = (int(corner[0]), int(corner[1]))
        return predict_amplitudes(whole, self.probe_MHW, scan.positions_n2, origin=where)

    @property
    def power(self) -> float:
        """The probe's power, summed over modes."""
        return float((np.abs(self.probe_MHW) ** 2).sum())

    def errors(self, scan: Scan, share: float) -> NDArray[np.float64]:
        """Return `scan_errors` of what it predicts for a scan."""
        return scan_errors(self.predict(scan, share), scan)

    def covered_shares(self, scan: Scan, share: float) -> NDArray[np.float64]:
        """Return which share of the probe's power falls on illuminated pixels, for each frame."""
        corner, shape = self._canvas(scan)
        known = _placed(illuminated(self.light_YX, share), self.origin, corner, shape, False)
        power = (np.abs(self.probe_MHW) ** 2).sum(axis=0)
        side = scan.patch_px
        corners = np.rint(scan.positions_n2).astype(int) - corner
        found = [(power * known[r : r + side, c : c + side]).sum() for r, c in corners]
        return np.asarray(found, np.float64) / power.sum()

    def _canvas(self, scan: Scan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return corner and shape of the canvas that holds the object and a scan's windows."""
        low = np.minimum(np.rint(scan.positions_n2.min(axis=0)), self.origin)
        ends = np.array(self.origin) + self.object_YX.shape
        high = np.maximum(np.rint(scan.positions_n2.max(axis=0)) + scan.patch_px, ends)
        return low.astype(np.int64), (high - low).astype(np.int64)


def _placed(
    array_YX: NDArray[Any], origin: Point, corner: Point, shape: Point, fill: Any
) -> NDArray[Any]:
    """Return an array that lies at `origin` on another canvas; `fill` where it does not lie."""
    canvas = np.full(tuple(shape), fill, array_YX.dtype)
    low = np.maximum(origin, corner)
    high = np.maximum(np.minimum(np.add(origin, array_YX.shape), np.add(corner, shape)), low)
    (top, left), (bottom, right) = low - corner, high - corner
    (first, start), (last, stop) = low - origin, high - origin
    canvas[top:bottom, left:right] = array_YX[first:last, start:stop]
    return canvas


def scan_errors(
    predicted_nHW: NDArray[Any], scan: Scan, index: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Return `physics.predict.frame_errors` against a scan's frames, or those of an index."""
    where = slice(None) if index is None else index
    used = scan.used if len(scan.used) == 1 else scan.used[where]
    return frame_errors(predicted_nHW, scan.amplitude_nHW[where], used)


def common_box(estimates: Sequence[ObjectEstimate], share: float) -> Box:
    """Return the largest box all of whose pixels are illuminated in every estimate; `InputError` if
    it is too small to compare anything in."""
    low = np.max([one.origin for one in estimates], axis=0)
    high = np.min([np.add(one.origin, one.object_YX.shape) for one in estimates], axis=0)
    shape = np.maximum(high - low, 0)
    known = np.ones(tuple(shape), bool)
    for one in estimates:
        known &= _placed(illuminated(one.light_YX, share), one.origin, low, shape, False)
    top, left, rows, columns = _largest_rectangle(known)
    if min(rows, columns) < _LEAST_PX:
        raise InputError(
            f"the parts of this measurement light only {rows} x {columns} px in common; make "
            "real_data.held_out or scores.lit_share smaller"
        )
    top, left = top + int(low[0]), left + int(low[1])
    return slice(top, top + rows), slice(left, left + columns)


def _largest_rectangle(known: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return top, left, rows, columns of the largest rectangle of true pixels."""
    best = (0, 0, 0, 0)
    heights = np.zeros(known.shape[1] + 1, int)
    for bottom, row in enumerate(known):
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
