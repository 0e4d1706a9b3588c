"""Laws of the forward model, and its agreement with an independent NumPy version."""

import re

import numpy as np
import pytest
import torch

from ptycho_torch.physics.forward import INTENSITY_FLOOR, amplitudes, intensities


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
