"""From patches to one object on the scan's positions.

Each patch's exit wave is put where its frame was taken, by fractions of a pixel, and the object is
the one that explains all waves best: the mean of overlapping patches weighted by the probe's
intensity (physics/groups.py). Patches of groups all take part.

Letters: P patches, M probe modes, H rows, W columns of a patch (H = W), Y rows, X columns of the
object. Positions are the (row, column) of a patch's upper left corner, pixels, fractional.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.physics.groups import divide, placed_waves
from ptycho_torch.physics.views import add_windows, split_positions

_BATCH = 64
# Positions this near to whole pixels are whole.
_WHOLE_PX = 1e-3


@dataclass(frozen=True, slots=True)
class Stitched:
    """object_YX: complex64, 0 where it is dark; coverage_YX: summed probe intensity over its
    largest value in one frame, float32; origin_2: (row, column) of its first pixel in the
    coordinates of the positions, whole pixels."""

    object_YX: NDArray[np.complex64]
    coverage_YX: NDArray[np.float32]
    origin_2: NDArray[np.int64]


def stitch(
    patches_PHW: NDArray[np.complexfloating],
    positions_P2: NDArray[np.float64],
    probe_MHW: NDArray[np.complexfloating],
) -> Stitched:
    """Stitch patches, each of which shows the object from its fractional position on."""
    probe = torch.from_numpy(np.asarray(probe_MHW, dtype=np.complex128))
    whole, fraction = split_positions(torch.from_numpy(np.ascontiguousarray(positions_P2)))
    fractional = float(fraction.abs().max()) > _WHOLE_PX
    origin = whole.amin(dim=0)
    rows, columns = (whole.amax(dim=0) - origin + patches_PHW.shape[-1]).tolist()
    total = torch.zeros(rows, columns, dtype=torch.complex128)
    light = torch.zeros(rows, columns, dtype=torch.float64)
    for start in range(0, len(whole), _BATCH):
        part = slice(start, start + _BATCH)
        patches = torch.from_numpy(np.asarray(patches_PHW[part], dtype=np.complex128))
        waves, weights = placed_waves(patches, probe, fraction[part] if fractional else None)
        add_windows(total, waves, whole[part] - origin)
        add_windows(light, weights.contiguous(), whole[part] - origin)
    brightest = float(probe.abs().square().sum(dim=0).max())
    return Stitched(
        divide(total, light, probe).numpy().astype(np.complex64),
        (light / brightest).numpy().astype(np.float32),
        origin.numpy(),
    )
