"""The one forward model: object patches and probe in, diffraction amplitudes out; and the losses by
which these are compared with what was measured, MAE on amplitudes and Poisson on photon counts.

`simulate` makes data with it and `train` differentiates it in the loss, so they cannot disagree.

    patches_BCHW -(times probe_MHW)-> exit_BCMHW -(far field)-> wave_BCMHW
                 -(sum_M |.|^2)-> intensity_BCHW -(root)-> amplitude_BCHW

Letters: B batch, C patches of a group (channels; independent of each other here), M incoherent
probe modes, H rows, W columns. The zero frequency sits at [H // 2, W // 2]. Units: the exit
wave's; photons are (s A)^2 with the dataset's intensity scale s. Scales are constants of the
dataset, never of the batch.
"""

import torch
from torch import Tensor
from torch.distributions import Poisson
from torch.fft import fft2, fftshift

INTENSITY_FLOOR = 1e-12
"""Added under the root: its gradient at a dark pixel stays finite. Stored amplitudes have a mean
near 0.1, so the floor of 1e-6 in amplitude is far below one photon."""


def intensities(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return diffraction intensities, (B, C, H, W), real; each frame sums to its exit wave's
    sum |psi|^2 (Parseval). Modes add in intensity.

    The probe may be one for all, (M, H, W), or one for each patch, (B, C, M, H, W); other shapes
    raise `ValueError`. Thibault and Menzel, Nature 494, 68 (2013), doi:10.1038/nature11806.
    """
    patches, probe = tuple(patches_BCHW.shape), tuple(probe_MHW.shape)
    if len(patches) != 4 or len(probe) not in (3, 5) or patches[-2:] != probe[-2:]:
        raise ValueError(
            f"expected patches (B, C, H, W) and a probe (M, H, W) of the same H and W, got "
            f"{patches} and {probe}"
        )
    # No ifftshift first: it would only add a phase ramp, which the intensity drops. And no shift
    # of the wave: intensities are real and of one mode, a quarter of the bytes or less.
    wave_BCMHW = fft2(patches_BCHW[:, :, None] * probe_MHW, norm="ortho")
    squared_BCMHW = wave_BCMHW.real.square() + wave_BCMHW.imag.square()
    return fftshift(squared_BCMHW.sum(dim=2), dim=(-2, -1))


def amplitudes(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return diffraction amplitudes sqrt(I + floor), (B, C, H, W), real, with finite gradient."""
    return (intensities(patches_BCHW, probe_MHW) + INTENSITY_FLOOR).sqrt()


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
