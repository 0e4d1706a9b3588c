"""What may be removed before scoring, and what may not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptycho_torch.evaluate.align import aligned_phases, complex_error, phase_plane

ROW, COLUMN = np.mgrid[0:40, 0:50] - np.array([19.5, 24.5])[:, None, None]


@pytest.fixture
def truth():
    stream = np.random.default_rng(0)
    amplitude = 1 + 0.2 * stream.random((40, 50))
    return amplitude * np.exp(1j * 4 * gaussian_filter(stream.normal(size=(40, 50)), 2))


def test_the_branch_lies_away_from_the_truth(truth):
    """A truth round pi: one and the same phase must not come out as pi here, -pi there."""
    expected, phase = aligned_phases(-truth, -truth * np.exp(0.01j * ROW))
    assert np.ptp(expected) == pytest.approx(np.ptp(np.angle(truth)))
    assert np.abs(phase - expected).max() < 0.3


@pytest.mark.parametrize("slopes", [(0.01, -0.02), (0.3, 0.2), (-1.5, 2.5)])
def test_a_plane_is_removed_only_on_request(truth, slopes):
    plane = slopes[0] * ROW + slopes[1] * COLUMN
    pred = truth * np.exp(1j * (plane + 0.7))
    np.testing.assert_allclose(phase_plane(truth, pred), plane, atol=1e-9)
    expected, removed = aligned_phases(truth, pred, remove_plane=True)
    _, kept = aligned_phases(truth, pred)
    np.testing.assert_allclose(removed, expected, atol=1e-9)
    np.testing.assert_allclose(expected, np.angle(truth), atol=1e-12)
    assert np.abs(kept - expected).mean() > 0.1


def test_the_complex_error_of_known_images(truth):
    assert complex_error(truth, np.zeros_like(truth)) == 1.0
    assert complex_error(np.array([[1.0, 0]]), np.array([[1.0, 1.0]])) == pytest.approx(0.5**0.5)
    assert complex_error(truth, truth.conj()) > 0.3
