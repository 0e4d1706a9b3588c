"""Losses in their own units, held by numbers worked out by hand."""

import math

import pytest
import torch

from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss, scale_B111


def frame(value, batch=2):
    return torch.full((batch, 1, 4, 4), float(value))


ONE = torch.ones(2, 1, 1, 1)


def test_mae_works_on_amplitude():
    """Predicted 2, observed 3: 1 in amplitude; intensities would give 5."""
    assert mae_loss(frame(2), frame(3), ONE).item() == pytest.approx(1)


def test_poisson_counts_photons_with_the_intensity_scale():
    """s = 10: rate 400, observation 900 photons."""
    expected = -(900 * math.log(400) - 400 - math.lgamma(901))

    loss = poisson_loss(frame(2), frame(3), 10 * ONE, ONE)

    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_predicting_nothing_scores_one_over_the_dataset():
    observed = torch.rand(6, 1, 4, 4)
    mean = scale_B111(observed.mean().item(), observed)

    assert mae_loss(torch.zeros_like(observed), observed, mean).item() == pytest.approx(1)


def test_loss_of_a_frame_does_not_depend_on_the_batch_it_is_in():
    """The first execution's loss grew with the batch size, by a broadcast of a scale."""
    mean = 0.3
    alone = mae_loss(frame(2, 1), frame(3, 1), scale_B111(mean, frame(2, 1)))
    among = mae_loss(frame(2, 16), frame(3, 16), scale_B111(mean, frame(2, 16)))
    assert alone.item() == pytest.approx(among.item())


@pytest.mark.parametrize("scale", [torch.ones(2), torch.ones(1, 1, 1, 1)])
def test_broadcasting_of_scales_and_images_is_refused(scale):
    with pytest.raises(ValueError, match="expected \\(2, 1, 1, 1\\)"):
        mae_loss(frame(1), frame(1), scale)
    with pytest.raises(ValueError, match="one shape"):
        mae_loss(frame(1), frame(1)[:1], ONE)
