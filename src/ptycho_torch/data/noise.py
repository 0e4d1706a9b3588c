"""Photon noise of amplitudes."""

import numpy as np
from numpy.typing import NDArray

# Photons: below it, the noise of a root is summed count by count; above, it is 1/4.
_FEW_PHOTONS = 60


def noise_of_roots(photons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of (sqrt(K) - sqrt(m))^2 for K Poisson with the mean m.

    About 1/4 for many photons and 2 m for few; summed over K below 60.
    """
    from scipy.stats import poisson  # Slow to import.

    counts, means = np.arange(200)[:, None], np.linspace(0, _FEW_PHOTONS**0.5, 1201) ** 2
    table = (np.sqrt(counts) - np.sqrt(means)) ** 2 * poisson.pmf(counts, means)
    few = np.interp(np.minimum(photons, _FEW_PHOTONS), means, table.sum(axis=0))
    return np.where(photons < _FEW_PHOTONS, few, 0.25)
