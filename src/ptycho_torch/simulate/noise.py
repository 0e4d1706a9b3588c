"""Photon counting."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ptycho_torch.simulate.frames import Each

AT_ONCE = 64
"""Groups that share a stream and are drawn at once; as float64 they still fit the cache."""


def count_photons(
    amplitude: NDArray[np.floating],
    intensity_scale: float,
    stream: Callable[[int], Generator],
    each: Each = map,
) -> NDArray[np.float32]:
    """Return sqrt(Poisson((s A)^2)) / s for amplitudes (n, ...); root photons are s A.

    Every `AT_ONCE` groups have a stream of their own, named by the first of them and drawn from in
    the order of the array, so that threads can share the work without a say in what it gives.
    """
    noisy = np.empty(amplitude.shape, dtype=np.float32)

    def draw(some: slice) -> None:
        rate = np.square(intensity_scale * amplitude[some], dtype=np.float64)
        noisy[some] = np.sqrt(stream(some.start).poisson(rate)) / intensity_scale

    for _ in each(draw, (slice(i, i + AT_ONCE) for i in range(0, len(amplitude), AT_ONCE))):
        pass
    return noisy
