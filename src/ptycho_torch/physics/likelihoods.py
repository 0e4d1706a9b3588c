"""Losses in their own units: MAE on amplitudes, Poisson on photon counts.

Letters: B batch, C channels, H rows, W columns. Scales are constants of the dataset, never of
the batch.
"""

import torch
from torch import Tensor
from torch.distributions import Poisson


def mae_loss(
    predicted_BCHW: Tensor,
    observed_BCHW: Tensor,
    mean_amplitude: float,
    good_BCHW: Tensor | None = None,
) -> Tensor:
    """Return mean |A_pred - A_obs| over the dataset's mean amplitude: 1 for predicting nothing.

    Only pixels that `good_BCHW` calls measured enter the mean; None: all. `ValueError` if the
    shapes differ: broadcasting would hide a mistake.
    """
    _check(predicted_BCHW, observed_BCHW)
    return _mean((predicted_BCHW - observed_BCHW).abs() / mean_amplitude, good_BCHW)


def poisson_loss(
    predicted_BCHW: Tensor,
    observed_BCHW: Tensor,
    intensity_scale: float,
    mean_counts: float,
    good_BCHW: Tensor | None = None,
) -> Tensor:
    """Return the mean Poisson negative log-likelihood over the dataset's mean count of a pixel.

    The rate is the predicted, the observation the observed photon count (s A)^2; the likelihood
    is torch's, with the factorial term, continued to counts that are not whole. Predicted
    amplitudes are > 0; s is in root photons per unit amplitude, the mean count in photons of a
    pixel of the dataset. Masks and errors as in `mae_loss`.
    """
    _check(predicted_BCHW, observed_BCHW)
    rate = (intensity_scale * predicted_BCHW).square()
    counts = (intensity_scale * observed_BCHW).square()
    loss = -Poisson(rate, validate_args=False).log_prob(counts) / mean_counts
    return _mean(loss, good_BCHW)


def _mean(loss_BCHW: Tensor, good_BCHW: Tensor | None) -> Tensor:
    if good_BCHW is None:
        return loss_BCHW.mean()
    good = good_BCHW.expand_as(loss_BCHW)
    # Chosen, not multiplied by 0: a pixel that was not measured may hold anything.
    return torch.where(good, loss_BCHW, 0.0).sum() / good.sum()


def _check(predicted: Tensor, observed: Tensor) -> None:
    if predicted.shape != observed.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)}, observed {tuple(observed.shape)}; not one shape"
        )
