"""Fourier ring correlation: up to which frequency two images agree.

Letters: H rows, W columns, R rings. Frequencies are cycles per pixel.
"""

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
NYQUIST = 0.5


def ring_frequencies(shape: tuple[int, int]) -> Real:
    """Return the frequency of each ring, (R,): multiples of 1 / shorter side, up to Nyquist."""
    side = min(shape)
    return np.arange(1, side // 2 + 1) / side


def ring_correlation(first_HW: Real, second_HW: Real) -> Real:
    """Return Re sum F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2) over each ring, (R,).

    Both images are made mean-free under a Hann window, which keeps the borders from correlating,
    and multiplied by it. A ring in which either image is empty correlates by 0.

    References
    ----------
    van Heel and Schatz, J. Struct. Biol. 151, 250 (2005), doi:10.1016/j.jsb.2005.05.009.
    """
    shape = first_HW.shape
    rows, columns = (np.fft.fftfreq(n) for n in shape)
    side = min(shape)
    ring = np.rint(np.hypot(rows[:, None], columns[None, :]) * side).astype(int).ravel()
    first, second = (_windowed_spectrum(image).ravel() for image in (first_HW, second_HW))

    def over_rings(values: Real) -> Real:
        # The corners beyond Nyquist are left out, and the ring of the mean.
        sums = np.bincount(ring, weights=values)[1 : side // 2 + 1]
        return sums.astype(np.float64)

    power = over_rings(np.abs(first) ** 2) * over_rings(np.abs(second) ** 2)
    common = over_rings((first * second.conj()).real)
    correlation = np.zeros_like(common)
    np.divide(common, np.sqrt(power), out=correlation, where=power > 0)
    return correlation


def crossing(frequencies_R: Real, correlation_R: Real, level: float = 0.5) -> float:
    """Return where the curve first falls under `level`, linear between rings.

    The curve starts at correlation 1 and frequency 0; Nyquist if it never falls under `level`.
    """
    under = np.flatnonzero(correlation_R < level)
    if not len(under):
        return NYQUIST
    frequencies = np.concatenate([[0.0], frequencies_R])
    curve = np.concatenate([[1.0], correlation_R])
    at = int(under[0])
    left, right = curve[at], curve[at + 1]
    step = frequencies[at + 1] - frequencies[at]
    return float(frequencies[at] + step * (left - level) / (left - right))


def _windowed_spectrum(image_HW: Real) -> NDArray[np.complex128]:
    # The first and last point of a Hann window are 0: two more are made and dropped.
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image_HW.shape))
    mean_free = image_HW - (window * image_HW).sum() / window.sum()
    spectrum: NDArray[np.complex128] = np.fft.fft2(window * mean_free)
    return spectrum
