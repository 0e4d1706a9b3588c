"""Frames kept out of training by where they were taken, so that no neighbour gives them away.

A frame's neighbours show most of the same object: a random choice of frames would be validated on
what it was trained on. Here a contiguous block is kept out; a gap around it is used for neither.

Letters: n frames, M probe modes, H rows, W columns. Positions are (row, column), pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

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
    count = max(1, round(fraction * len(positions_n2)))
    from_corner = np.hypot(*(positions_n2 - corner).T)
    # Frames at one distance, as on a raster, are told apart by their number: always the same ones.
    validation = np.sort(np.argsort(from_corner, kind="stable")[:count])
    nearest, _ = scipy.spatial.cKDTree(positions_n2[validation]).query(positions_n2)
    held = np.zeros(len(positions_n2), bool)
    held[validation] = True
    near = (nearest < gap_px) & ~held
    train = np.flatnonzero(~held & ~near)
    if not len(train):
        raise InputError(
            f"{source}: keeping out {count} of {len(positions_n2)} frames with a gap of "
            f"{gap_px:.3g} px leaves none to train on; use a smaller validation fraction or gap"
        )
    return HeldOut(train, validation, np.flatnonzero(near))


def overlap_px(probe_MHW: NDArray[np.complexfloating]) -> float:
    """Return how far apart two frames must be to share hardly any light, pixels.

    Beyond it, in every direction, the intensities of the two probes have less than 1 % of the
    product that they have with themselves.
    """
    intensity: NDArray[Any] = (np.abs(probe_MHW) ** 2).sum(axis=0)
    side = np.array(intensity.shape)
    power = np.abs(np.fft.fft2(intensity, s=tuple(2 * side))) ** 2
    shared = np.fft.ifft2(power).real
    distance = np.hypot(*np.meshgrid(*(np.fft.fftfreq(2 * n, 1 / (2 * n)) for n in side)))
    return float(distance.T[shared > _SHARED_LIGHT * shared[0, 0]].max()) + 1.0
