"""Dumps of a small made-up object."""

import numpy as np
import pytest

from ptycho_torch.data.units import Scales
from ptycho_torch.infer.dump import Dump

SIDE, SIZE = 8, 24
SCALES = Scales(
    input_scale=1.0, intensity_scale=900.0, intensity_scale_source="measured", norm_Y_I=2.0
)


@pytest.fixture(scope="session")
def made():
    """Make a dump of an object of amplitude 0.5 to 1.5 with phase, changed as requested.

    scale: of image and patches; turn: global phase; crop: rows and columns cut at the start.
    """

    def make(*, scale=1.0, turn=0.0, crop=0, **changes):
        rows, columns = np.mgrid[:SIZE, :SIZE]
        amplitude = 1 + 0.5 * np.sin(rows / 3) * np.cos(columns / 4)
        thing = scale * amplitude * np.exp(1j * (0.8 * np.sin(rows / 5 + columns / 7) + turn))
        corners = np.arange(0, SIZE - SIDE + 1, 4)
        grid = np.stack(np.meshgrid(corners, corners, indexing="ij"), -1).reshape(-1, 2)
        patches = np.stack([thing[r : r + SIDE, c : c + SIDE] for r, c in grid]) / 2
        parts = {
            "stitched_YX": thing[crop:, crop:].astype(np.complex64),
            "scales": SCALES,
            "origin_2": np.array([crop, crop], float) + 3,
            "patches_PHW": patches.astype(np.complex64),
            "positions_P2": grid.astype(float) + 3,
            "made_by": "a test",
            "source": "made",
        }
        return Dump(**{**parts, **changes})

    return make
