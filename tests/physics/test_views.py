"""Sub-pixel shifts against an analytic one, and windows against their adjoint."""

import numpy as np
import pytest
import torch

from ptycho_torch.physics.views import add_windows, cut_windows, fourier_shift


def blob(row, column, side=32, width=2.5):
    """A Gaussian with a phase ramp, dark at the borders: analytic at any position."""
    y, x = np.mgrid[:side, :side]
    envelope = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    return torch.from_numpy(envelope * np.exp(1j * 0.3 * ((y - row) - 0.5 * (x - column))))


@pytest.mark.parametrize("shift", [(0.37, -0.81), (3.0, -2.0), (0.5, 0.5)])
def test_a_shift_is_the_analytic_one(shift):
    moved = fourier_shift(blob(15, 16), torch.tensor(shift))
    torch.testing.assert_close(moved, blob(15 + shift[0], 16 + shift[1]), atol=1e-6, rtol=0)


def test_a_shift_is_undone_by_the_shift_back_and_keeps_inner_products():
    stream = torch.Generator().manual_seed(0)
    frames = torch.randn(3, 17, 16, dtype=torch.complex128, generator=stream)
    shift = torch.tensor([[0.2, 0.7], [-1.3, 0.1], [2.5, -0.5]])
    moved = fourier_shift(frames, shift)
    torch.testing.assert_close(fourier_shift(moved, -shift), frames)
    torch.testing.assert_close(
        torch.vdot(moved.ravel(), moved.ravel()), torch.vdot(frames.ravel(), frames.ravel())
    )


def test_cutting_and_adding_windows_are_adjoint():
    stream = torch.Generator().manual_seed(1)
    seen = torch.randn(20, 24, dtype=torch.complex128, generator=stream)
    whole = torch.tensor([[0, 0], [3, 5], [12, 16], [3, 5]])
    windows = torch.randn(4, 8, 8, dtype=torch.complex128, generator=stream)
    total = torch.zeros_like(seen)
    add_windows(total, windows, whole)
    torch.testing.assert_close(
        torch.vdot(cut_windows(seen, whole, 8).ravel(), windows.ravel()),
        torch.vdot(seen.ravel(), total.ravel()),
    )
