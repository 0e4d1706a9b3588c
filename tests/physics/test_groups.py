"""Patches of a group merged into one region: what agrees passes, what does not is held to agree."""

import pytest
import torch

from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.physics.groups import group_amplitudes, merge_groups, merged_patches
from ptycho_torch.physics.views import cut_windows, fourier_shift, split_positions

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


def test_positions_that_are_wrong_by_a_pixel_are_seen():
    """The nearest wrong neighbour: groups merged at rounded or swapped places explain nothing."""
    corners, whole, fraction = group("fractional")
    patches, probe = seen_from(smooth(32), corners), disk()
    for wrong in ((whole, None), (whole.flip(-1), fraction.flip(-1))):
        missed = group_amplitudes(patches, probe, *wrong) - amplitudes(patches, probe)
        assert missed.abs().max() > 0.02


def test_the_mean_is_weighted_by_the_probes_intensity():
    """Two frames, worked out by hand: at one pixel 1 with weight 9 and 0 with weight 1."""
    patches = torch.zeros(1, 2, 2, 2, dtype=torch.complex128)
    patches[0, 0] = 1
    probe = torch.tensor([[[1.0, 3.0], [1.0, 1.0]]], dtype=torch.complex128)
    whole = torch.tensor([[[0, 0], [0, 1]]])
    region = merge_groups(patches, probe, whole, None)[0]
    assert region.shape == (2, 3)
    assert region[0].real.tolist() == pytest.approx([1, 0.9, 0], abs=1e-4)
    assert region[1].real.tolist() == pytest.approx([1, 0.5, 0], abs=1e-4)


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


def test_positions_of_another_group_are_refused():
    _, whole, _ = group("whole")
    with pytest.raises(ValueError, match=r"expected \(1, 3, 2\)"):
        merge_groups(torch.zeros(1, 3, SIDE, SIDE, dtype=torch.complex64), disk(), whole, None)


def fitted_patches(frames, probe, whole, fraction, start, *, merge, steps):
    """Patches that explain the frames best, by direct descent from a start."""
    patches = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([patches], lr=1.0, momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        predicted = (
            group_amplitudes(patches, probe, whole, fraction)
            if merge
            else amplitudes(patches, probe)
        )
        missed = predicted - frames
        missed.square().sum().backward()
        optimiser.step()
    return patches.detach(), float(missed.detach().abs().mean() / frames.mean())


def phases_apart(patches, truth, probe):
    """Spread of the patches' phases against the truth's, radians: 0 if they agree."""
    weight = probe.abs().square().sum(dim=0)
    turned = (patches * truth.conj() * weight).sum(dim=(-2, -1))
    turned = turned / turned.abs()
    return float(turned.mean().abs().clamp(max=1).arccos())


def test_overlap_fixes_what_a_frame_alone_cannot():
    """One pattern does not fix its patch's phase; the overlap with its neighbours does.

    Each patch starts at the truth times a phase of its own. Alone each explains its frame as well
    as the truth does, and stays; merged they explain nothing until they agree, and come to.
    """
    corners, whole, fraction = group("fractional")
    thing, probe = smooth(32), disk()
    truth = seen_from(thing, corners)
    frames = amplitudes(truth, probe)
    turns = torch.polar(torch.ones(4), torch.tensor([0.0, 1.2, -0.9, 2.0])).to(torch.complex128)
    start = truth * turns[None, :, None, None]

    alone, loss_alone = fitted_patches(frames, probe, whole, fraction, start, merge=False, steps=20)
    merged, loss_merged = fitted_patches(
        frames, probe, whole, fraction, start, merge=True, steps=60
    )

    assert phases_apart(start, truth, probe) > 0.8
    assert loss_alone < 1e-6
    assert phases_apart(alone, truth, probe) > 0.8
    together = group_amplitudes(start, probe, whole, fraction)
    assert (together - frames).abs().mean() / frames.mean() > 0.2
    assert loss_merged < 0.15
    windows = merged_patches(merged, probe, whole, fraction)
    assert phases_apart(windows, cut_windows(thing, whole[0], SIDE)[None], probe) < 0.05


def test_the_twin_of_a_symmetric_probe_fits_alone_and_not_merged():
    """Every patch on its twin: the frames cannot tell, the overlaps can."""
    corners, whole, fraction = group("whole")
    probe = disk()
    truth = seen_from(smooth(32), corners)
    frames = amplitudes(truth, probe)
    turned = (truth * probe).flip(-2, -1).conj() / probe

    alone = amplitudes(turned, probe)
    merged = group_amplitudes(turned, probe, whole, fraction)

    assert (alone - frames).abs().mean() / frames.mean() < 1e-6
    assert (merged - frames).abs().mean() / frames.mean() > 0.1
