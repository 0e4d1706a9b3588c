"""Shifts and windows against analytic ones; patches of a group merged into one region: what agrees
passes, what does not is held to agree."""

import numpy as np
import pytest
import torch

from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.physics.views import (
    add_windows,
    cut_windows,
    fourier_shift,
    group_amplitudes,
    merged_patches,
    split_positions,
)

SIDE = 16


def smooth(side, seed=0, width=3.0):
    """A random complex object without frequencies that a shift could not carry."""
    stream = torch.Generator().manual_seed(seed)
    noise = torch.randn(side, side, dtype=torch.complex128, generator=stream)
    axis = torch.fft.fftfreq(side, dtype=torch.float64)
    soft = torch.exp(-2 * (torch.pi * width) ** 2 * (axis[:, None] ** 2 + axis**2))
    return 1 + 6 * torch.fft.ifft2(torch.fft.fft2(noise) * soft)


def disk(side=SIDE, width=2.2):
    """A probe that is point-symmetric about the middle of the pixel grid and dark at its borders."""
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    squared = axis[:, None] ** 2 + axis**2
    return torch.polar(torch.exp(-squared / (2 * width**2)), 0.02 * squared)[None]


def seen_from(thing, corners_BC2):
    """Patches as a network would give them: the object from each fractional corner on."""
    moved = fourier_shift(thing.expand(*corners_BC2.shape[:2], *thing.shape), -corners_BC2)
    return moved[..., :SIDE, :SIDE]


CORNERS = {
    "whole": [[0.0, 0], [0, 4], [4, 0], [4, 4]],
    "fractional": [[0.3, 0.1], [0.4, 4.2], [3.6, 0.45], [4.1, 3.7]],
}


def group(kind):
    corners = torch.tensor([CORNERS[kind]], dtype=torch.float64) + 2
    whole, fraction = split_positions(corners)
    return corners, whole, None if kind == "whole" else fraction


@pytest.mark.parametrize("kind", list(CORNERS))
def test_patches_that_agree_explain_their_frames_as_they_do_alone(kind):
    corners, whole, fraction = group(kind)
    patches, probe = seen_from(smooth(32), corners), disk()
    merged = group_amplitudes(patches, probe, whole, fraction)
    torch.testing.assert_close(merged, amplitudes(patches, probe), atol=2e-3, rtol=0)


def test_the_mean_is_weighted_by_the_probes_intensity():
    """Two frames, worked out by hand: at one pixel 1 with weight 9 and 0 with weight 1."""
    patches = torch.zeros(1, 2, 2, 2, dtype=torch.complex128)
    patches[0, 0] = 1
    probe = torch.tensor([[[1.0, 3.0], [1.0, 1.0]]], dtype=torch.complex128)
    whole = torch.tensor([[[0, 0], [0, 1]]])
    left, right = merged_patches(patches, probe, whole, None)[0].real
    assert left.numpy() == pytest.approx(np.array([[1, 0.9], [1, 0.5]]), abs=1e-4)
    assert right.numpy() == pytest.approx(np.array([[0.9, 0], [0.5, 0]]), abs=1e-4)


def test_groups_of_a_batch_do_not_reach_each_other():
    """Groups of different extent share a batch; a change in one changes no other."""
    whole = torch.tensor([[[0, 0], [0, 4], [4, 0], [4, 4]], [[7, 3], [2, 3], [9, 5], [3, 1]]])
    patches = torch.randn(2, 4, SIDE, SIDE, dtype=torch.complex128)
    changed = patches.clone()
    changed[1] = 0
    before, after = (merged_patches(p, disk(), whole, None) for p in (patches, changed))
    torch.testing.assert_close(before[0], after[0])
    alone = merged_patches(patches[1:], disk(), whole[1:], None)
    torch.testing.assert_close(before[1], alone[0])


@pytest.mark.parametrize("kind", list(CORNERS))
def test_the_gradient_is_finite_and_that_of_finite_differences(kind):
    _, whole, fraction = group(kind)
    small = torch.randn(1, 4, SIDE, SIDE, dtype=torch.complex128, requires_grad=True)
    found = group_amplitudes(small, disk(), whole, fraction).sum()
    (gradient,) = torch.autograd.grad(found, small)
    assert torch.isfinite(torch.view_as_real(gradient)).all()
    step = 1e-6 * torch.randn_like(small)
    changed = group_amplitudes(small + step, disk(), whole, fraction).sum()
    slope = (gradient.conj() * step).sum().real
    assert (changed - found).item() == pytest.approx(slope.item(), rel=1e-3, abs=1e-9)


def off(frames, predicted):
    return float((predicted - frames).abs().mean() / frames.mean())


@pytest.mark.parametrize("wrong", ["phase", "twin"])
def test_overlap_tells_what_a_frame_alone_cannot(wrong):
    """Patches that explain each frame alone, by a phase of their own or as its twin, disagree."""
    corners, whole, fraction = group("whole")
    truth, probe = seen_from(smooth(32), corners), disk()
    if wrong == "phase":
        turns = torch.polar(torch.ones(4), torch.tensor([0.0, 1.2, -0.9, 2.0]))
        other = truth * turns[None, :, None, None]
    else:
        other = (truth * probe).flip(-2, -1).conj() / probe
    frames = amplitudes(truth, probe)
    assert off(frames, amplitudes(other, probe)) < 1e-6
    assert off(frames, group_amplitudes(other, probe, whole, fraction)) > 0.1


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
    torch.testing.assert_close(moved.norm(), frames.norm())


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
