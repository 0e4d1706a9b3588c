"""Laws of the forward model, and its agreement with an independent NumPy version; losses in their own
units, held by numbers worked out by hand."""

import math
import re

import numpy as np
import pytest
import torch

from ptycho_torch.physics.forward import INTENSITY_FLOOR, amplitudes, intensities
from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss


def random_complex(*shape, seed=0, dtype=torch.complex128):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=stream)


def numpy_amplitudes(patches_BCHW, probe_MHW):
    """Written anew from docs/reference/physics.md: explicit DFT matrices instead of an FFT."""
    H, W = patches_BCHW.shape[-2:]

    def dft(n):
        shifted = np.arange(n) - n // 2
        return np.exp(-2j * np.pi * np.outer(shifted, np.arange(n)) / n) / np.sqrt(n)

    total = 0.0
    for mode in probe_MHW:
        wave = np.einsum("kh,bchw,lw->bckl", dft(H), patches_BCHW * mode, dft(W))
        total = total + wave.real**2 + wave.imag**2
    return np.sqrt(total + INTENSITY_FLOOR)


@pytest.mark.parametrize(("modes", "channels", "side"), [(1, 1, (16, 16)), (3, 4, (15, 17))])
def test_agrees_with_an_independent_version_in_float64(modes, channels, side):
    patches, probe = random_complex(3, channels, *side), random_complex(modes, *side, seed=1)

    ours = amplitudes(patches, probe).numpy()

    np.testing.assert_allclose(ours, numpy_amplitudes(patches.numpy(), probe.numpy()), atol=1e-10)


def test_power_is_conserved_and_modes_add_in_intensity():
    patches, probe = random_complex(2, 1, 16, 16), random_complex(3, 16, 16, seed=1)

    together = intensities(patches, probe)
    apart = sum(intensities(patches, mode[None]) for mode in probe)

    power = (patches[:, :, None] * probe).abs().square().sum(dim=(-3, -2, -1))
    torch.testing.assert_close(together.sum(dim=(-2, -1)), power)
    torch.testing.assert_close(together, apart)


def test_gradient_agrees_with_finite_differences_and_is_finite_where_it_is_dark():
    patches, probe = random_complex(1, 2, 5, 6).requires_grad_(), random_complex(2, 5, 6, seed=1)
    assert torch.autograd.gradcheck(lambda p: amplitudes(p, probe), patches)
    dark = torch.zeros_like(patches, requires_grad=True)
    amplitudes(dark, probe).sum().backward()
    assert torch.isfinite(torch.view_as_real(dark.grad)).all()


@pytest.mark.parametrize(
    ("patches", "probe"), [((1, 1, 8, 8), (1, 16, 16)), ((1, 8, 8), (1, 8, 8))]
)
def test_another_shape_is_refused_by_both(patches, probe):
    with pytest.raises(ValueError, match=re.escape(f"{patches} and {probe}")):
        amplitudes(random_complex(*patches), random_complex(*probe))


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
