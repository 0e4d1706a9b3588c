"""Photon counting."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_AT_ONCE = 64
"""Groups whose counts are drawn at once; as float64 they still fit the processor's cache."""


def count_photons(
    amplitude: NDArray[np.floating], intensity_scale: float, stream: Generator
) -> NDArray[np.float32]:
    """Return sqrt(Poisson((s A)^2)) / s for amplitudes of any shape; root photons are s A.

    The stream is drawn from pixel by pixel, in the order of the array.
    """
    noisy = np.empty(amplitude.shape, dtype=np.float32)
    for start in range(0, len(amplitude), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        rate = np.square(intensity_scale * amplitude[some], dtype=np.float64)
        noisy[some] = np.sqrt(stream.poisson(rate)) / intensity_scale
    return noisy
