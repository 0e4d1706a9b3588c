"""What a scan's own probe and object predict for its frames, and whether it is what was measured.

Letters: n frames, H rows, W columns (H = W).
"""

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.predict import predict_amplitudes

# Photons: below it, the noise of a root is summed count by count; above, it is 1/4.
_FEW_PHOTONS = 60
WITHIN_NOISE = 1.1
"""Prediction and measurement are equal if they differ by at most this many times the noise."""


def prediction_error(scan: Scan) -> tuple[float, float | None]:
    """Compare stored amplitudes with those that the scan's own probe and object predict, over the
    pixels that were measured.

    Returns the relative error of the amplitudes after one factor, and the error that photon noise
    alone would give, None where s is not known.
    """
    assert scan.probe_MHW is not None and scan.object_YX is not None
    found = predict_amplitudes(scan.object_YX, scan.probe_MHW, scan.positions_n2)
    measured = np.where(scan.used, scan.amplitude_nHW, 0).astype(np.float64)
    predicted = np.where(scan.used, found, 0).astype(np.float64)
    power, total = float((predicted**2).sum()), float((measured**2).sum())
    # By power: the best factor of amplitudes is biased where photons are few.
    predicted *= (total / power) ** 0.5 if power > 0 else 0.0
    error = float(np.square(measured - predicted).sum() / total) ** 0.5
    if scan.intensity_scale is None:
        return error, None
    noise = np.where(scan.used, noise_of_roots((scan.intensity_scale * predicted) ** 2), 0).sum()
    return error, float(noise / scan.intensity_scale**2 / total) ** 0.5


def noise_of_roots(photons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of (sqrt(K) - sqrt(m))^2 for K Poisson with the mean m.

    About 1/4 for many photons and 2 m for few; summed over K below 60.
    """
    from scipy.stats import poisson  # Slow to import.

    counts, means = np.arange(200)[:, None], np.linspace(0, _FEW_PHOTONS**0.5, 1201) ** 2
    table = (np.sqrt(counts) - np.sqrt(means)) ** 2 * poisson.pmf(counts, means)
    few = np.interp(np.minimum(photons, _FEW_PHOTONS), means, table.sum(axis=0))
    return np.where(photons < _FEW_PHOTONS, few, 0.25)
