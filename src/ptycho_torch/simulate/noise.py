"""Photon counting."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def count_photons(
    amplitude: NDArray[np.floating], intensity_scale: float, stream: Generator
) -> NDArray[np.float32]:
    """Return sqrt(Poisson((s A)^2)) / s for amplitudes of any shape; root photons are s A."""
    rate = np.square(intensity_scale * amplitude, dtype=np.float64)
    return (np.sqrt(stream.poisson(rate)) / intensity_scale).astype(np.float32)
