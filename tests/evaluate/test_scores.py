"""Scores of one image: reference numbers, conventions, what has no score, what may be removed before;
two objects of anyone are compared by what diffraction data fix."""

import re

import h5py
import numpy as np
import pytest
from numpy.random import RandomState
from scipy.ndimage import fourier_shift, gaussian_filter
from tests.samples import rough_object

from ptycho_torch.evaluate.objects import compare_objects
from ptycho_torch.evaluate.scores import (
    FLAT_PREDICTION,
    FLAT_TRUTH,
    aligned_phases,
    complex_error,
    image_scores,
    mean_score,
    phase_plane,
)
from ptycho_torch.physics.stitch import tile_extent
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import render
from ptycho_torch.simulate.frames import line_images


@pytest.fixture
def small():
    return 2.0 + gaussian_filter(np.random.default_rng(0).normal(size=(48, 48)), 2)


def test_a_constant_amplitude_has_the_reference_scores():
    """Of the reference object, 326x326 (docs/reference/physics.md). The published table's collapsed
    run had just these; another SSIM convention fails here."""
    (image,) = line_images(RandomState(2), images=1, size_px=392, num_lines=400)
    places = np.arange(0, 329, 10)
    grid = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    truth = image[tile_extent(grid, 64, 10)][2:-2, 2:-2]
    scores = image_scores(truth, np.full_like(truth, truth.mean()))
    assert truth.shape == (326, 326)
    assert truth.mean() == pytest.approx(2.889508, abs=1e-6)
    assert truth.std() == pytest.approx(0.641223, abs=1e-6)
    assert scores["ssim"] == pytest.approx(0.2771, abs=5e-5)
    assert scores["mae"] == pytest.approx(0.5131, abs=5e-5)
    assert scores["std_ratio"] == pytest.approx(0.0, abs=1e-12)
    assert scores["pearson_r"] == scores["frc_half"] == FLAT_PREDICTION


def test_known_scores(small):
    """PSNR is by the truth's range, not 255."""
    for scale in (1, 100):
        scores = image_scores(scale * small, scale * (small + 0.01 * np.ptp(small)))
        assert scores["psnr_db"] == pytest.approx(40.0)
    scores = image_scores(small, small.mean() - 2 * (small - small.mean()))
    assert scores["pearson_r"] == pytest.approx(-1.0)
    assert scores["std_ratio"] == pytest.approx(2.0)
    assert scores["mae"] == pytest.approx(3 * np.abs(small - small.mean()).mean())


def test_what_has_no_score_says_why(small):
    pred = small.copy()
    pred[3, 4] = np.inf
    reason = "not defined: 1 of 2304 px of the prediction are not finite"
    assert set(image_scores(small, pred).values()) == {reason}
    assert set(image_scores(np.ones((48, 48)), small).values()) == {FLAT_TRUTH}
    assert mean_score([1.0, 2.0]) == 1.5
    assert mean_score([1.0, FLAT_TRUTH]) == FLAT_TRUTH


WAVE, SCENE = rough_object((40, 50)), rough_object((160, 170))
ROW, COLUMN = np.mgrid[0:40, 0:50] - np.array([19.5, 24.5])[:, None, None]


def test_the_branch_lies_away_from_the_truth():
    """A truth round pi: one and the same phase must not come out as pi here, -pi there."""
    expected, phase = aligned_phases(-WAVE, -WAVE * np.exp(0.01j * ROW))
    assert np.ptp(expected) == pytest.approx(np.ptp(np.angle(WAVE)))
    assert np.abs(phase - expected).max() < 0.3


@pytest.mark.parametrize("slopes", [(0.01, -0.02), (0.3, 0.2), (-1.5, 2.5)])
def test_a_plane_is_removed_only_on_request(slopes):
    plane = slopes[0] * ROW + slopes[1] * COLUMN
    pred = WAVE * np.exp(1j * (plane + 0.7))
    np.testing.assert_allclose(phase_plane(WAVE, pred), plane, atol=1e-9)
    expected, removed = aligned_phases(WAVE, pred, remove_plane=True)
    _, kept = aligned_phases(WAVE, pred)
    np.testing.assert_allclose(removed, expected, atol=1e-9)
    np.testing.assert_allclose(expected, np.angle(WAVE), atol=1e-12)
    assert np.abs(kept - expected).mean() > 0.1


def test_the_complex_error_of_known_images():
    assert complex_error(WAVE, np.zeros_like(WAVE)) == 1.0
    assert complex_error(np.array([[1.0, 0]]), np.array([[1.0, 1.0]])) == pytest.approx(0.5**0.5)
    assert complex_error(WAVE, WAVE.conj()) > 0.3


def test_an_object_that_was_moved_tilted_and_scaled_is_the_same(tmp_path):
    moved = np.fft.ifft2(fourier_shift(np.fft.fft2(SCENE), (0.3, -0.4)))
    first, second = SCENE[10:120, 20:150], moved[25:150, 5:140]
    rows, columns = np.indices(second.shape)
    ramp = np.exp(1j * (0.7 + 0.06 * rows - 0.03 * columns))
    np.save(tmp_path / "a.npy", first)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["entry/result"] = (2.3 * ramp * second)[None].astype(np.complex64)
    found, (a, b) = compare_objects(tmp_path / "a.npy", f"{tmp_path}/b.h5:/entry/result")
    # Moved by 0.3 and -0.4 px, so its first pixel lies as much before 15 and behind -15.
    assert found["shift_px"] == pytest.approx([15 - 0.3, -15 + 0.4], abs=0.02)
    assert found["complex_error"] < 0.03 and found["phase_ssim"] > 0.99
    assert a.shape == b.shape == tuple(found["field_px"])
    assert found["frc_period_px"]["half_bit"] < 4


def test_noise_lowers_the_resolution_and_unknown_pixels_are_left_out(tmp_path):
    rng = np.random.default_rng(1)
    noisy = [SCENE + rng.normal(scale=0.2, size=(*SCENE.shape, 2)) @ [1, 1j] for _ in "ab"]
    noisy[1][:40] = np.nan
    for name, image in zip("ab", noisy, strict=True):
        np.savez(tmp_path / f"{name}.npz", object=image)
    found, _ = compare_objects(tmp_path / "a.npz", tmp_path / "b.npz")
    assert found["field_px"][0] <= 120 and found["shift_px"] == pytest.approx([0, 0], abs=0.2)
    # The scene's own correlation length of 2 px is all that stands above the noise.
    assert 4 < found["frc_period_px"]["half"] < 20


def test_a_first_crossing_that_is_a_narrow_dip_is_said(tmp_path):
    """Two objects that differ in one ring of frequencies alone, 10 px a period."""
    frequency = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, SCENE.shape), indexing="ij"))
    turned = np.where(np.abs(frequency - 0.1) < 0.01, -1, 1)
    np.save(tmp_path / "a.npy", SCENE)
    np.save(tmp_path / "b.npy", np.fft.ifft2(turned * np.fft.fft2(SCENE)))
    found, _ = compare_objects(tmp_path / "a.npy", tmp_path / "b.npy")
    assert found["frc_period_px"]["half"] == pytest.approx(11, abs=1)
    assert found["frc_again"]["half"]["rings"] > 40
    assert found["frc_again"]["half"]["period_px"] < 4
    text = render("infer", "objects.md.j2", **found)
    assert re.search(r"1/2 \| 1\d\.?\d* px a period \| above it again in \d+ rings beyond", text)
    same, _ = compare_objects(tmp_path / "a.npy", tmp_path / "a.npy")
    assert same["frc_again"]["half"] == {"rings": 0, "period_px": None}
    assert "again" not in render("infer", "objects.md.j2", **same)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picture": np.ones((9, 9), complex)}, "has no object .*; it has: picture; give its name"),
        ({"object": np.ones((3, 50, 50), complex)}, r"'object' is \(3, 50, 50\)"),
        ({"object": np.ones((30, 30), complex)}, r"have 30 x 30 px in common, expected 40 or more"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", object=SCENE)
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(InputError, match=message):
        compare_objects(tmp_path / "a.npz", tmp_path / "b.npz")
