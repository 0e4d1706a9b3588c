"""Frames kept out of training by where they were taken, so that no neighbour gives them away.

A frame's neighbours show most of the same object: a random choice of frames would be validated on
what it was trained on. Here a contiguous block is kept out; a gap around it is used for neither.

Letters: n frames, M probe modes, H rows, W columns. Positions are (row, column), pixels.
"""

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.real_data import RegionSettings
from ptycho_torch.data.scan import median_step
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

Frames = NDArray[np.int64]
Positions = NDArray[np.float64]
Probe = NDArray[np.complexfloating]
# Probes this far apart share less than this fraction of the light that they share with themselves.
_SHARED_LIGHT = 0.01


class HeldOut(NamedTuple):
    """Frames, rising: for training, for validation, and those in the gap, used for neither."""

    train: Frames
    validation: Frames
    gap: Frames


def hold_out(
    positions_n2: Positions, *, fraction: float, gap_px: float, seed: int, source: str
) -> HeldOut:
    """Keep out the frames nearest to one corner of the scan, which the seed decides.

    fraction: share of the frames that validate; at least one does; gap_px: frames nearer than this
    to a validation frame are left out of training. `InputError` if nothing is left to train on.
    """
    low, high = positions_n2.min(axis=0), positions_n2.max(axis=0)
    corner = np.where(named_stream(seed, "hold out").random(2) < 0.5, low, high)
    # Frames at one distance, as on a raster, are told apart by their number: always the same ones.
    nearest = np.argsort(np.hypot(*(positions_n2 - corner).T), kind="stable")
    held = np.zeros(len(positions_n2), bool)
    held[nearest[: max(1, round(fraction * len(positions_n2)))]] = True
    return _apart(positions_n2, held, gap_px, source)


def hold_out_region(
    positions_n2: Positions, region: RegionSettings, *, gap_px: float, source: str
) -> HeldOut:
    """Hold out the frames in a rectangle of the scan's extent, and leave a gap around them.

    Unlike a corner, the region may lie inside the scan: then its surroundings light it, and what
    an object learned from them predicts there can be tested. `InputError` if the region holds no
    frame, or the gap leaves none.
    """
    extent = np.ptp(positions_n2, axis=0)
    share = (positions_n2 - positions_n2.min(axis=0)) / np.where(extent > 0, extent, 1)
    first, last = np.array([region.rows, region.columns]).T
    held = ((share >= first) & (share <= last)).all(axis=1)
    if not held.any():
        raise InputError(
            f"{source}: no frame lies in the region held out, rows {region.rows} and columns "
            f"{region.columns} of the scan's extent; make it larger"
        )
    return _apart(positions_n2, held, gap_px, source)


def _apart(positions_n2: Positions, held: NDArray[np.bool_], gap_px: float, source: str) -> HeldOut:
    nearest, _ = scipy.spatial.cKDTree(positions_n2[held]).query(positions_n2)
    near = (nearest < gap_px) & ~held
    train = np.flatnonzero(~held & ~near)
    if not len(train):
        raise InputError(
            f"{source}: keeping out {int(held.sum())} of {len(held)} frames with a gap of "
            f"{gap_px:.3g} px leaves none to train on; hold out fewer, or use a smaller gap"
        )
    return HeldOut(train, np.flatnonzero(held), np.flatnonzero(near))


def overlap_px(probe_MHW: Probe) -> float:
    """Return how far apart two frames must be to share hardly any light, pixels: beyond it, in
    every direction, the two probes' intensities have less than 1 % of their product at one place.
    """
    intensity = (np.abs(probe_MHW) ** 2).sum(axis=0)
    height, width = (2 * side for side in intensity.shape)
    shared = np.fft.ifft2(np.abs(np.fft.fft2(intensity, s=(height, width))) ** 2).real
    rows, columns = (np.fft.fftfreq(side, 1 / side) for side in (height, width))
    distance = np.hypot(rows[:, None], columns)
    return float(distance[shared > _SHARED_LIGHT * shared[0, 0]].max()) + 1.0


def half_light_radius_px(probe_MHW: Probe) -> float:
    """Return the radius around the probe's centre of mass that holds half of its power, pixels."""
    intensity = (np.abs(probe_MHW) ** 2).sum(axis=0)
    centre = scipy.ndimage.center_of_mass(intensity)
    rows, columns = np.indices(intensity.shape)
    radius = np.hypot(rows - centre[0], columns - centre[1]).ravel()
    order = np.argsort(radius, kind="stable")
    share = np.cumsum(intensity.ravel()[order]) / intensity.sum()
    return float(radius[order][np.searchsorted(share, 0.5)])


def interleaved_halves(positions_n2: Positions) -> tuple[Frames, Frames]:
    """Return two disjoint halves, rising, such that each covers what the other does.

    Neighbours are paired, and one of each pair goes to each half; an odd frame goes to the first.
    """
    # In strips two steps wide, so that no frame is left without neighbours.
    step = median_step(positions_n2) or 1.0
    rows, columns = positions_n2.T
    strip = np.floor((rows - rows.min()) / (2 * step))
    along = np.where(strip % 2 == 0, columns, -columns)
    half_of = np.full(len(positions_n2), -1)
    for pair, frame in enumerate(np.lexsort((along, strip))):
        if half_of[frame] >= 0:
            continue
        half_of[frame] = pair % 2
        free = np.flatnonzero(half_of < 0)
        if len(free):
            apart = np.hypot(*(positions_n2[free] - positions_n2[frame]).T)
            half_of[free[apart.argmin()]] = 1 - pair % 2
    first, second = (np.flatnonzero(half_of == half) for half in (0, 1))
    return (second, first) if len(second) > len(first) else (first, second)
