"""Frames held out by a region of the scan, and two halves of the others that both cover it.

Unlike `hold_out`, the region may lie inside the scan: then its surroundings light it, and what an
object learned from them predicts there can be tested.

Letters: n frames, M probe modes, H rows, W columns. Positions are (row, column), pixels.
"""

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.real_data import RegionSettings
from ptycho_torch.data.hold_out import HeldOut
from ptycho_torch.runtime.errors import InputError


def hold_out_region(
    positions_n2: NDArray[np.float64], region: RegionSettings, *, gap_px: float, source: str
) -> HeldOut:
    """Hold out the frames in a rectangle of the scan's extent, and leave a gap around them.

    Returns
    -------
    HeldOut
        `validation` are the frames held out; none of `train` is nearer to one than the gap.

    Raises
    ------
    InputError
        If the region holds no frame, or the gap leaves none.
    """
    low, extent = positions_n2.min(axis=0), np.ptp(positions_n2, axis=0)
    share = (positions_n2 - low) / np.where(extent > 0, extent, 1)
    first, last = np.array([region.rows, region.columns]).T
    held = ((share >= first) & (share <= last)).all(axis=1)
    if not held.any():
        raise InputError(
            f"{source}: no frame lies in the region held out, rows {region.rows} and columns "
            f"{region.columns} of the scan's extent; make it larger"
        )
    nearest, _ = scipy.spatial.cKDTree(positions_n2[held]).query(positions_n2)
    near = (nearest < gap_px) & ~held
    train = np.flatnonzero(~held & ~near)
    if not len(train):
        raise InputError(
            f"{source}: holding out {int(held.sum())} of {len(held)} frames with a gap of "
            f"{gap_px:.3g} px leaves none to learn from; make region or gap smaller"
        )
    return HeldOut(train, np.flatnonzero(held), np.flatnonzero(near))


def interleaved_halves(
    positions_n2: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return two disjoint halves, rising, such that each covers what the other does.

    Neighbours are paired, and one of each pair goes to each half; an odd frame goes to the first.
    """
    count = len(positions_n2)
    tree = scipy.spatial.cKDTree(positions_n2)
    free = np.ones(count, bool)
    halves: tuple[list[int], list[int]] = ([], [])
    for pair, frame in enumerate(_in_strips(positions_n2).tolist()):
        if not free[frame]:
            continue
        free[frame] = False
        halves[pair % 2].append(frame)
        other = _nearest_free(tree, positions_n2[frame], free)
        if other is not None:
            free[other] = False
            halves[1 - pair % 2].append(other)
    first, second = sorted(halves, key=len, reverse=True)
    return np.array(sorted(first), np.int64), np.array(sorted(second), np.int64)


def _in_strips(positions_n2: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the frames in strips two steps wide, so that no frame is left without neighbours."""
    if len(positions_n2) < 2:
        return np.arange(len(positions_n2))
    step = float(np.median(scipy.spatial.cKDTree(positions_n2).query(positions_n2, k=2)[0][:, 1]))
    strip = np.floor((positions_n2[:, 0] - positions_n2[:, 0].min()) / max(2 * step, 1e-9))
    along = np.where(strip % 2 == 0, positions_n2[:, 1], -positions_n2[:, 1])
    return np.lexsort((along, strip))


def _nearest_free(tree: Any, place: NDArray[np.float64], free: NDArray[np.bool_]) -> int | None:
    asked = 8
    while free.any():
        _, found = tree.query(place, k=min(asked, len(free)))
        good = [int(frame) for frame in np.atleast_1d(found) if free[frame]]
        if good:
            return good[0]
        asked *= 4
    return None


def half_light_radius_px(probe_MHW: NDArray[np.complexfloating]) -> float:
    """Return the radius around the probe's centre of mass that holds half of its power, pixels."""
    intensity = (np.abs(probe_MHW) ** 2).sum(axis=0)
    rows, columns = np.indices(intensity.shape)
    total = intensity.sum()
    centre = [float((axis * intensity).sum() / total) for axis in (rows, columns)]
    radius = np.hypot(rows - centre[0], columns - centre[1]).ravel()
    order = np.argsort(radius, kind="stable")
    share = np.cumsum(intensity.ravel()[order]) / total
    return float(radius[order][np.searchsorted(share, 0.5)])
