"""Losses in their own units, held by numbers worked out by hand."""

import math

import pytest
import torch

from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss


def frame(value, batch=2):
    return torch.full((batch, 1, 4, 4), float(value))


def test_mae_works_on_amplitude():
    """Predicted 2, observed 3: 1 in amplitude; intensities would give 5."""
    assert mae_loss(frame(2), frame(3), 1.0).item() == pytest.approx(1)


def test_poisson_counts_photons_with_the_intensity_scale():
    """s = 10: rate 400, observation 900 photons."""
    expected = -(900 * math.log(400) - 400 - math.lgamma(901))
    loss = poisson_loss(frame(2), frame(3), 10.0, 1.0)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert poisson_loss(frame(2), frame(3), 10.0, 4.0).item() == pytest.approx(loss.item() / 4)


def test_predicting_nothing_scores_one_over_the_dataset():
    observed = torch.rand(6, 1, 4, 4)
    loss = mae_loss(torch.zeros_like(observed), observed, observed.mean().item())
    assert loss.item() == pytest.approx(1)


def test_broadcasting_of_images_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        mae_loss(frame(1), frame(1)[:1], 1.0)
