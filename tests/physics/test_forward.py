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
    illuminated,
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


def test_an_object_is_known_where_enough_of_the_most_light_fell():
    light = np.array([0.0, 0.9, 1.1, 100.0])
    assert illuminated(light).tolist() == [False, False, True, True]
    assert illuminated(light / 7, 0.5).tolist() == [False, False, False, True]


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


def frames_of(objects, probe):
    patches = torch.from_numpy(np.asarray(objects, np.complex64))[:, None]
    return amplitudes(patches, torch.from_numpy(probe))[:, 0].numpy()


def test_the_best_constant_is_the_weighted_median_of_the_ratios():
    probe = a_probe().astype(np.complex64)
    stream = np.random.default_rng(0)
    objects = 1 + 0.8 * stream.normal(size=(5, 16, 16))
    seen, empty = frames_of(objects, probe), frames_of(np.ones((1, 16, 16)), probe)[0]
    ratios, weights = (seen / empty).ravel(), np.broadcast_to(empty, seen.shape).ravel()
    order = np.argsort(ratios)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    expected = np.abs(ratios[order][half] * empty - seen).sum() / seen.sum()
    assert constant_loss(seen, probe) == pytest.approx(expected, rel=1e-4)


def raster(size: int, side: int, step: int) -> np.ndarray:
    places = np.arange(0, size - side + 1, step)
    return np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)


def cut(image: np.ndarray, positions: np.ndarray, side: int) -> np.ndarray:
    return np.stack([image[r : r + side, c : c + side] for r, c in positions])


def random_image(size: int, seed: int = 0) -> np.ndarray:
    stream = np.random.default_rng(seed)
    return stream.normal(size=(size, size)) + 1j * stream.normal(size=(size, size))


@pytest.mark.parametrize(("side", "step"), [(32, 5), (9, 4), (8, 8)])
def test_tiles_of_an_object_make_that_object(side, step):
    """A tile that is one pixel off, or rows and columns swapped, fails here."""
    image = random_image(60)
    positions = raster(60, side, step)
    one = np.zeros(len(positions), int)
    stitched = stitch_tiles(cut(image, positions, side), positions, one, step)
    np.testing.assert_array_equal(stitched[0], image[tile_extent(positions, side, step)])


def test_images_stay_apart_whatever_the_order_of_patches():
    first, second = random_image(40, 1), random_image(40, 2)
    positions = raster(40, 16, 4)
    patches = np.concatenate([cut(first, positions, 16), cut(second, positions, 16)])
    images = np.repeat([0, 1], len(positions))
    order = np.random.default_rng(3).permutation(len(images))
    stitched = stitch_tiles(patches[order], np.tile(positions, (2, 1))[order], images[order], 4)
    extent = tile_extent(positions, 16, 4)
    np.testing.assert_array_equal(stitched, np.stack([first[extent], second[extent]]))


def test_a_hole_is_refused():
    positions = np.delete(raster(40, 16, 4), 8, axis=0)
    patches = cut(random_image(40), positions, 16)
    with pytest.raises(InputError, match="leave 16 of"):
        stitch_tiles(patches, positions, np.zeros(len(positions), int), 4)


def coordinates(values: list[list[float]], channels: int = 1) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[:, None, :, None], channels, axis=-1)


def test_positions_are_those_of_the_first_channel():
    offsets = coordinates([[0, 10], [20, 30]], channels=4)
    nominal = np.zeros_like(offsets)
    nominal[..., 1:] = 4.0
    nominal[:, 0, 0, 0] = 1.0004  # the float error of some program
    np.testing.assert_array_equal(patch_positions(offsets, nominal), [[1, 10], [21, 30]])


@pytest.mark.parametrize("bad", [[0.5, 3.0], [-1.0, 3.0], [np.nan, 3.0], [2.002, 3.0]])
def test_positions_off_the_pixel_grid_are_refused(bad):
    offsets = coordinates([[0, 0], bad])
    with pytest.raises(InputError, match="patch 1 lies at"):
        patch_positions(offsets, np.zeros_like(offsets))
