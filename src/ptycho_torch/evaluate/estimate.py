"""Objects of a measurement's parts on one canvas, where they are illuminated, what they predict.

Letters: n frames, M probe modes, H rows, W columns, Y rows, X columns of the canvas. Positions
and origins are in the coordinates of the scan, (row, column), pixels; boxes in the canvas's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scan import Scan
from ptycho_torch.evaluate.align import MARGIN_PX
from ptycho_torch.physics.predict import illuminated, predict_amplitudes
from ptycho_torch.runtime.errors import InputError

Arrays = Mapping[str, NDArray[Any]]
Box = tuple[slice, slice]
# Sides under this are too small to compare anything in, pixels.
_LEAST_PX = 16


@dataclass(frozen=True, slots=True)
class ObjectEstimate:
    """The object of one part: 1 and without light where it has no pixels; light_YX: how much light
    fell on each, in any unit; origin: position of pixel [0, 0]; probe_MHW is in the file's units.
    """

    object_YX: NDArray[np.complexfloating]
    light_YX: NDArray[np.floating]
    probe_MHW: NDArray[np.complexfloating]
    origin: tuple[int, int] = (0, 0)

    def predict(self, scan: Scan, share: float) -> NDArray[np.float32]:
        """Return what it predicts for a scan's frames, (n, H, W), in the file's units.

        What is not illuminated by `share` of the most light is taken for the mean of what is,
        whoever made the object.
        """
        known = illuminated(self.light_YX, share)
        thing = np.where(known, self.object_YX, self.object_YX[known].mean()).astype(np.complex64)
        return predict_amplitudes(thing, self.probe_MHW, scan.positions_n2, origin=self.origin)

    def lit_shares(self, scan: Scan, share: float) -> NDArray[np.float64]:
        """Return which share of the probe's power falls on illuminated pixels, for each frame."""
        known, side = illuminated(self.light_YX, share), scan.patch_px
        power = (np.abs(self.probe_MHW) ** 2).sum(axis=0)
        corners = np.rint(scan.positions_n2).astype(int) - self.origin
        found = [(power * known[r : r + side, c : c + side]).sum() for r, c in corners]
        return np.asarray(found, np.float64) / power.sum()


def read_estimates(scans: Mapping[str, Scan], *files: Arrays) -> list[dict[str, ObjectEstimate]]:
    """Return the object of every part that all have, for the arrays of each `objects.npz`, on the
    canvas that holds these objects and all windows, and `MARGIN_PX` round them."""
    parts = [part for part in scans if all(f"{part}_object" in arrays for arrays in files)]
    low = [np.rint(scan.positions_n2.min(axis=0)) for scan in scans.values()]
    high = [np.rint(scan.positions_n2.max(axis=0)) + scan.patch_px for scan in scans.values()]
    for arrays, part in product(files, parts):
        low.append(arrays[f"{part}_origin"])
        high.append(arrays[f"{part}_origin"] + arrays[f"{part}_object"].shape)
    first = np.min(low, axis=0).astype(int) - MARGIN_PX
    last = np.max(high, axis=0).astype(int) + MARGIN_PX

    def placed(arrays: Arrays, part: str) -> ObjectEstimate:
        thing, before = arrays[f"{part}_object"], arrays[f"{part}_origin"] - first
        border = list(zip(before, last - first - before - thing.shape, strict=True))
        light = np.pad(arrays[f"{part}_light"], border)
        thing = np.pad(thing, border, constant_values=1)
        return ObjectEstimate(thing, light, arrays[f"{part}_probe"], tuple(first.tolist()))

    return [{part: placed(arrays, part) for part in parts} for arrays in files]


def common_box(estimates: Sequence[ObjectEstimate], share: float) -> Box:
    """Return the largest box of a canvas all of whose pixels are illuminated in every estimate;
    `InputError` if it is too small to compare anything in."""
    known = np.all([illuminated(one.light_YX, share) for one in estimates], axis=0)
    box = largest_rectangle(known)
    rows, columns = known[box].shape
    if min(rows, columns) < _LEAST_PX:
        raise InputError(
            f"the parts of this measurement light only {rows} x {columns} px in common; make "
            "real_data.held_out or scores.lit_share smaller"
        )
    return box


def largest_rectangle(known: NDArray[np.bool_]) -> Box:
    """Return rows and columns of the largest rectangle of true pixels."""
    best, most = (slice(0, 0), slice(0, 0)), 0
    heights = np.zeros(known.shape[1] + 1, int)
    for bottom, row in enumerate(known):
        heights[:-1] = np.where(row, heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []
        for column, height in enumerate(heights.tolist()):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if (area := tall * (column - start)) > most:
                    best, most = (slice(bottom - tall + 1, bottom + 1), slice(start, column)), area
            stack.append((start, height))
    return best
