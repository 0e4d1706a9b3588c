"""Frames kept out of training by where they were taken, so that no neighbour gives them away.

A frame's neighbours show most of the same object: a random choice of frames would be validated on
what it was trained on. Here a contiguous block is kept out; a gap around it is used for neither.

Letters: n frames, M probe modes, H rows, W columns. Positions are (row, column), pixels.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.real_data import RegionSettings
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

# Probes this far apart share less than this fraction of the light that they share with themselves.
_SHARED_LIGHT = 0.01


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Indices of frames, rising: for training, for validation, and those in the gap, used for
    neither."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    gap: NDArray[np.int64]


def hold_out(
    positions_n2: NDArray[np.float64], *, fraction: float, gap_px: float, seed: int, source: str
) -> HeldOut:
    """Keep out the frames nearest to one corner of the scan, and a gap around them.

    Parameters
    ----------
    positions_n2
        Of all frames, pixels.
    fraction
        Share of the frames that validate; at least one does.
    gap_px
        Frames nearer than this to a validation frame are left out of training.
    seed
        Decides the corner.
    source
        Name of the scan, for messages.

    Raises
    ------
    InputError
        If nothing is left to train on.
    """
    low, high = positions_n2.min(axis=0), positions_n2.max(axis=0)
    corner = np.where(named_stream(seed, "hold out").random(2) < 0.5, low, high)
    from_corner = np.hypot(*(positions_n2 - corner).T)
    held = np.zeros(len(positions_n2), bool)
    # Frames at one distance, as on a raster, are told apart by their number: always the same ones.
    nearest = np.argsort(from_corner, kind="stable")
    held[nearest[: max(1, round(fraction * len(positions_n2)))]] = True
    return _apart(positions_n2, held, gap_px, source, "a smaller validation fraction or gap")


def hold_out_region(
    positions_n2: NDArray[np.float64], region: RegionSettings, *, gap_px: float, source: str
) -> HeldOut:
    """Hold out the frames in a rectangle of the scan's extent, and leave a gap around them.

    Unlike a corner, the region may lie inside the scan: then its surroundings light it, and what
    an object learned from them predicts there can be tested.

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
    return _apart(positions_n2, held, gap_px, source, "a smaller region or gap")


def _apart(
    positions_n2: NDArray[np.float64],
    held: NDArray[np.bool_],
    gap_px: float,
    source: str,
    cure: str,
) -> HeldOut:
    """Return the frames held out, those in the gap around them, and the others for training."""
    nearest, _ = scipy.spatial.cKDTree(positions_n2[held]).query(positions_n2)
    near = (nearest < gap_px) & ~held
    train = np.flatnonzero(~held & ~near)
    if not len(train):
        raise InputError(
            f"{source}: keeping out {int(held.sum())} of {len(held)} frames with a gap of "
            f"{gap_px:.3g} px leaves none to train on; use {cure}"
        )
    return HeldOut(train, np.flatnonzero(held), np.flatnonzero(near))


def overlap_px(probe_MHW: NDArray[np.complexfloating]) -> float:
    """Return how far apart two frames must be to share hardly any light, pixels.

    Beyond it, in every direction, the intensities of the two probes have less than 1 % of the
    product that they have with themselves.
    """
    intensity = (np.abs(probe_MHW) ** 2).sum(axis=0)
    side = np.array(intensity.shape)
    power = np.abs(np.fft.fft2(intensity, s=tuple(2 * side))) ** 2
    shared = np.fft.ifft2(power).real
    distance = np.hypot(*np.meshgrid(*(np.fft.fftfreq(2 * n, 1 / (2 * n)) for n in side)))
    return float(distance.T[shared > _SHARED_LIGHT * shared[0, 0]].max()) + 1.0


def half_light_radius_px(probe_MHW: NDArray[np.complexfloating]) -> float:
    """Return the radius around the probe's centre of mass that holds half of its power, pixels."""
    intensity = (np.abs(probe_MHW) ** 2).sum(axis=0)
    centre = scipy.ndimage.center_of_mass(intensity)
    rows, columns = np.indices(intensity.shape)
    radius = np.hypot(rows - centre[0], columns - centre[1]).ravel()
    order = np.argsort(radius, kind="stable")
    share = np.cumsum(intensity.ravel()[order]) / intensity.sum()
    return float(radius[order][np.searchsorted(share, 0.5)])


def interleaved_halves(
    positions_n2: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return two disjoint halves, rising, such that each covers what the other does.

    Neighbours are paired, and one of each pair goes to each half; an odd frame goes to the first.
    """
    tree = scipy.spatial.cKDTree(positions_n2)
    free = np.ones(len(positions_n2), bool)
    halves: tuple[list[int], list[int]] = ([], [])
    # In strips two steps wide, so that no frame is left without neighbours.
    spacing = tree.query(positions_n2, k=[2])[0] if len(positions_n2) > 1 else np.ones(1)
    strip = np.floor(
        (positions_n2[:, 0] - positions_n2[:, 0].min()) / max(2 * float(np.median(spacing)), 1e-9)
    )
    along = np.where(strip % 2 == 0, positions_n2[:, 1], -positions_n2[:, 1])
    for pair, frame in enumerate(np.lexsort((along, strip)).tolist()):
        if not free[frame]:
            continue
        free[frame] = False
        halves[pair % 2].append(frame)
        near = 8
        while free.any():
            _, found = tree.query(positions_n2[frame], k=min(near, len(free)))
            others = [int(other) for other in np.atleast_1d(found) if free[other]]
            if others:
                free[others[0]] = False
                halves[1 - pair % 2].append(others[0])
                break
            near *= 4
    first, second = sorted(halves, key=len, reverse=True)
    return np.array(sorted(first), np.int64), np.array(sorted(second), np.int64)
