"""Losses in their own units: MAE on amplitudes, Poisson on photon counts.

Letters: B batch, C channels, H rows, W columns. Scales are constants of the dataset, never of
the batch, and arrive as (B, 1, 1, 1) so that they cannot broadcast over another axis.
"""

import torch
from torch import Tensor
from torch.distributions import Poisson


def mae_loss(
    predicted_BCHW: Tensor,
    observed_BCHW: Tensor,
    mean_amplitude_B111: Tensor,
    good_BCHW: Tensor | None = None,
) -> Tensor:
    """Return mean |A_pred - A_obs| over the dataset's mean amplitude; predicting nothing gives 1
    on average over the dataset.

    Only pixels that `good_BCHW` calls measured enter the mean; None: all. `ValueError` if the
    shapes differ, or the scale is not (B, 1, 1, 1).
    """
    _check(predicted_BCHW, observed_BCHW, mean_amplitude_B111)
    return _mean((predicted_BCHW - observed_BCHW).abs() / mean_amplitude_B111, good_BCHW)


def poisson_loss(
    predicted_BCHW: Tensor,
    observed_BCHW: Tensor,
    intensity_scale_B111: Tensor,
    mean_counts_B111: Tensor,
    good_BCHW: Tensor | None = None,
) -> Tensor:
    """Return the mean Poisson negative log-likelihood over the dataset's mean count of a pixel.

    The rate is the predicted, the observation the observed photon count (s A)^2; the likelihood
    is torch's, with the factorial term, continued to counts that are not whole. Predicted
    amplitudes are > 0; s is in root photons per unit amplitude, the mean count in photons of a
    pixel of the dataset. Masks and errors as in `mae_loss`.
    """
    _check(predicted_BCHW, observed_BCHW, intensity_scale_B111, mean_counts_B111)
    rate = (intensity_scale_B111 * predicted_BCHW).square()
    counts = (intensity_scale_B111 * observed_BCHW).square()
    loss = -Poisson(rate, validate_args=False).log_prob(counts) / mean_counts_B111
    return _mean(loss, good_BCHW)


def scale_B111(value: float, like_BCHW: Tensor) -> Tensor:
    """Return a dataset's constant as (B, 1, 1, 1) on the device and in the type of a batch."""
    return torch.full(
        (like_BCHW.shape[0], 1, 1, 1), value, dtype=like_BCHW.dtype, device=like_BCHW.device
    )


def _mean(loss_BCHW: Tensor, good_BCHW: Tensor | None) -> Tensor:
    if good_BCHW is None:
        return loss_BCHW.mean()
    good = good_BCHW.expand_as(loss_BCHW)
    # Chosen, not multiplied by 0: a pixel that was not measured may hold anything.
    return torch.where(good, loss_BCHW, 0.0).sum() / good.sum()


def _check(predicted: Tensor, observed: Tensor, *scales: Tensor) -> None:
    """Refuse other shapes: broadcasting would hide a mistake."""
    if predicted.shape != observed.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)}, observed {tuple(observed.shape)}; not one shape"
        )
    expected = (observed.shape[0], 1, 1, 1)
    if wrong := [tuple(scale.shape) for scale in scales if scale.shape != expected]:
        raise ValueError(f"a scale is {wrong[0]}, expected {expected}")
