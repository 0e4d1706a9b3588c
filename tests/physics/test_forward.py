"""Laws of the forward model, and its agreement with an independent NumPy version; losses in their
own units; what an object predicts for frames; how patches become one image."""

import math
import re

import numpy as np
import pytest
import torch
from tests.samples import a_probe

from ptycho_torch.physics.forward import (
    INTENSITY_FLOOR,
    amplitudes,
    intensities,
    mae_loss,
    poisson_loss,
)
from ptycho_torch.physics.predict import (
    constant_loss,
    predict_amplitudes,
    r_factor,
)
from ptycho_torch.physics.stitch import (
    object_patches,
    patch_positions,
    stitch_tiles,
    tile_extent,
)
from ptycho_torch.runtime.errors import InputError


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


def test_losses_of_two_predicted_and_three_observed():
    """MAE works on amplitude: 1, where intensities would give 5. Poisson counts photons with the
    intensity scale: s = 10 makes a rate of 400, an observation of 900."""
    assert mae_loss(frame(2), frame(3), 1.0).item() == pytest.approx(1)
    expected = -(900 * math.log(400) - 400 - math.lgamma(901))
    loss = poisson_loss(frame(2), frame(3), 10.0, 1.0)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert poisson_loss(frame(2), frame(3), 10.0, 4.0).item() == pytest.approx(loss.item() / 4)
    # Predicting nothing scores 1; images are not broadcast.
    assert mae_loss(frame(0), frame(3), 3.0).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="one shape"):
        mae_loss(frame(1), frame(1)[:1], 1.0)


def gaussian(row, column, side, width):
    y, x = np.mgrid[:side, :side]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))


def test_predictions_follow_positions_modes_and_the_objects_origin():
    """Against NumPy on an analytic object; a rounded position or swapped axes fail here."""
    modes = np.stack([gaussian(15.5, 15.5, 32, 3), 0.5j * gaussian(13, 17, 32, 2.5)])
    thing = 1 + 0.5 * gaussian(24, 26, 48, 5) * np.exp(0.7j)
    positions = np.array([[14.3, 6.6], [12.0, 9.0]])
    found = predict_amplitudes(thing, modes, positions, origin=(10, 2))
    for frame, (row, column) in zip(found, positions - (10, 2), strict=True):
        seen = 1 + 0.5 * gaussian(24 - row, 26 - column, 32, 5) * np.exp(0.7j)
        waves = np.fft.fftshift(np.fft.fft2(seen * modes, norm="ortho"), axes=(-2, -1))
        np.testing.assert_allclose(frame, np.sqrt((abs(waves) ** 2).sum(axis=0)), atol=2e-4)
    with pytest.raises(ValueError, match=r"reach from .* the object is \(48, 48\) px"):
        predict_amplitudes(thing, modes, positions + 20)


def test_the_r_factor_counts_measured_pixels_only():
    observed = np.array([[[1.0, 2.0], [np.nan, 3.0]], [[1.0, 1.0], [7.0, 2.0]]])
    good = np.array([[[True, True], [False, True]]])
    assert r_factor(0 * observed, observed, good) == 1
    assert r_factor(observed + 0.5, observed, good) == pytest.approx(0.5 * 6 / 10)
    assert np.isnan(r_factor(observed[:0], observed[:0], good))


def test_patches_are_the_objects_windows():
    objects = np.arange(2 * 5 * 6).reshape(2, 5, 6)
    corners = np.array([[[0, 0], [2, 3]], [[1, 2], [0, 3]]])
    found = object_patches(objects, corners, np.array([[1], [0]]), 3)
    assert found.shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(found[0, 1], objects[1, 2:5, 3:6])
    np.testing.assert_array_equal(found[1, 0], objects[0, 1:4, 2:5])
    for wrong in ([-1, 0], [3, 0], [0, 4]):
        with pytest.raises(ValueError, match="the objects are"):
            object_patches(objects, np.array([wrong]), np.array([0]), 3)


def test_the_best_constant_is_the_weighted_median_of_the_ratios():
    probe = a_probe().astype(np.complex64)
    objects = 1 + 0.8 * np.random.default_rng(0).normal(size=(6, 1, 16, 16)).astype(np.complex64)
    objects[5] = 1
    *seen, empty = amplitudes(torch.from_numpy(objects), torch.from_numpy(probe))[:, 0].numpy()
    seen = np.stack(seen)
    ratios, weights = (seen / empty).ravel(), np.broadcast_to(empty, seen.shape).ravel()
    order = np.argsort(ratios)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    expected = np.abs(ratios[order][half] * empty - seen).sum() / seen.sum()
    assert constant_loss(seen, probe) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("side", "step"), [(32, 5), (9, 4), (8, 8)])
def test_tiles_of_objects_make_those_objects_in_any_order_and_a_hole_is_refused(side, step):
    """A tile that is one pixel off, or rows and columns swapped, fails here."""
    objects = random_complex(2, 60, 60).numpy()
    places = np.arange(0, 60 - side + 1, step)
    grid = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    images = np.repeat([0, 1], len(grid))
    order = np.random.default_rng(3).permutation(len(images))
    positions, images = np.tile(grid, (2, 1))[order], images[order]
    patches = object_patches(objects, positions, images, side)
    stitched = stitch_tiles(patches, positions, images, step)
    extent = tile_extent(grid, side, step)
    np.testing.assert_array_equal(stitched, np.stack([image[extent] for image in objects]))
    with pytest.raises(InputError, match=f"leave {step**2} of"):
        stitch_tiles(patches[1:], positions[1:], images[1:], step)


def test_positions_are_those_of_the_first_channel_and_on_the_pixel_grid():
    offsets = np.array([[0.0, 10.0], [20.0, 30.0]])[:, None, :, None].repeat(4, axis=-1)
    nominal = np.zeros_like(offsets)
    nominal[..., 1:] = 4.0
    nominal[:, 0, 0, 0] = 1.0004  # the float error of some program
    np.testing.assert_array_equal(patch_positions(offsets, nominal), [[1, 10], [21, 30]])
    for bad in (0.5, -2.0, np.nan, 2.002):
        offsets[1, 0, 0, 0] = bad
        with pytest.raises(InputError, match="patch 1 lies at"):
            patch_positions(offsets, nominal)
