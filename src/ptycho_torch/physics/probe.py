"""The one normalisation of a probe, for simulation, training and inference.

Letters: M probe modes, H rows, W columns (H = W).
"""

import numpy as np
from numpy.typing import NDArray


def radius_px(patch_px: int) -> NDArray[np.float64]:
    """Return the distance of each pixel from the array's centre, (H, W), pixels."""
    axis = np.arange(patch_px) - (patch_px - 1) / 2
    return np.hypot(axis[:, None], axis[None, :])


def normalisation(probe: NDArray[np.complexfloating]) -> float:
    """Return 4 * mean over all pixels of |mask * P|, mask = 1 within N // 4 of the centre.

    Incoherent modes count by the root of their summed intensity.
    """
    modulus = np.sqrt((np.abs(probe) ** 2).reshape(-1, *probe.shape[-2:]).sum(axis=0))
    patch_px = probe.shape[-1]
    # Half a pixel below and right of the middle pixel: the centre of the pixel grid.
    mask = radius_px(patch_px) <= patch_px // 4
    return float(4 * (mask * modulus).mean())


def normalise(probe: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """Return the probe over `normalisation`."""
    return np.asarray(probe / normalisation(probe), dtype=np.complex128)
