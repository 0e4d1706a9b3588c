"""Fourier ring correlation: identities and a known low-pass."""

import numpy as np
import pytest

from ptycho_torch.evaluate.frc import NYQUIST, crossing, ring_correlation, ring_frequencies


def noise(seed: int, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", [(64, 64), (63, 63), (60, 80)])
def test_an_image_agrees_with_itself_and_disagrees_with_its_negative(shape):
    image, frequencies = noise(0, shape), ring_frequencies(shape)
    curve = ring_correlation(image, 3.0 * image + 5.0)
    np.testing.assert_allclose(curve, np.ones(len(frequencies)), atol=1e-12)
    np.testing.assert_allclose(ring_correlation(image, -image), -1.0, atol=1e-12)
    np.testing.assert_array_equal(ring_correlation(image, np.full(shape, 2.0)), 0.0)
    assert frequencies[-1] == pytest.approx(NYQUIST, abs=0.51 / min(shape))
    assert crossing(frequencies, curve) == NYQUIST


def test_neither_independent_noise_nor_the_border_alone_correlates():
    """Without a window, two ramps share the cross of their jumps at the border."""
    curve = ring_correlation(noise(1, (128, 128)), noise(2, (128, 128)))
    assert np.abs(curve[16:]).max() < 0.4
    assert abs(curve[16:].mean()) < 0.05
    row = np.mgrid[0:64, 0:64][0] / 6.0
    assert np.abs(ring_correlation(row + noise(5), row + noise(6))[5:]).mean() < 0.15


@pytest.mark.parametrize("cut_off", [0.1, 0.2, 0.35])
def test_the_crossing_finds_where_a_low_pass_image_turns_to_noise(cut_off):
    image, other = noise(3, (256, 256)), noise(4, (256, 256))
    rows, columns = np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :]
    kept = np.hypot(rows, columns) <= cut_off
    mixed = np.fft.ifft2(np.where(kept, np.fft.fft2(image), np.fft.fft2(other))).real
    half = crossing(ring_frequencies((256, 256)), ring_correlation(image, mixed))
    assert half == pytest.approx(cut_off, abs=2 / 256)


@pytest.mark.parametrize(
    ("curve", "level", "expected"),
    [
        ([0.9, 0.6, 0.2, 0.9], 0.5, 0.225),
        ([0.0, 0.9, 0.9, 0.9], 0.5, 0.05),
        ([0.9, 0.6, 0.4, 0.1], 1 / 7, 0.3 + 0.1 * (0.4 - 1 / 7) / 0.3),
        ([0.9, np.nan, 0.9, 0.9], 0.5, 0.1 + 0.1 * 0.4 / 1.9),
        ([np.nan] * 4, 0.5, 0.025),
        ([], 0.5, 0.0),
    ],
)
def test_the_crossing_is_linear_between_rings_and_before_the_first_one(curve, level, expected):
    """What is not a number is under every level."""
    frequencies = np.array([0.1, 0.2, 0.3, 0.4])[: len(curve)]
    assert crossing(frequencies, np.array(curve), level) == pytest.approx(expected)
