"""Two objects, anyone's: what no diffraction data fix is removed, and the rest is compared."""

import h5py
import numpy as np
import pytest
import scipy

from ptycho_torch.evaluate.objects import compare_objects
from ptycho_torch.runtime.errors import InputError


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    amplitude, phase = (scipy.ndimage.gaussian_filter(rng.normal(size=(160, 170)), 2) for _ in "ab")
    return (1 + amplitude) * np.exp(6j * phase)


def test_an_object_that_was_moved_tilted_and_scaled_is_the_same(scene, tmp_path):
    moved = np.fft.ifft2(scipy.ndimage.fourier_shift(np.fft.fft2(scene), (0.3, -0.4)))
    first, second = scene[10:120, 20:150], moved[25:150, 5:140]
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


def test_noise_lowers_the_resolution_and_unknown_pixels_are_left_out(scene, tmp_path):
    rng = np.random.default_rng(1)
    noisy = [scene + rng.normal(scale=0.2, size=(*scene.shape, 2)) @ [1, 1j] for _ in "ab"]
    noisy[1][:40] = np.nan
    for name, image in zip("ab", noisy, strict=True):
        np.savez(tmp_path / f"{name}.npz", object=image)
    found, _ = compare_objects(tmp_path / "a.npz", tmp_path / "b.npz")
    assert found["field_px"][0] <= 120 and found["shift_px"] == pytest.approx([0, 0], abs=0.2)
    # The scene's own correlation length of 2 px is all that stands above the noise.
    assert 4 < found["frc_period_px"]["half"] < 20


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"picture": np.ones((9, 9), complex)},
            r"has no object .*; it has: picture; give its name",
        ),
        ({"object": np.ones((3, 50, 50), complex)}, r"'object' is \(3, 50, 50\)"),
        ({"object": np.ones((30, 30), complex)}, r"have 30 x 30 px in common, expected 40 or more"),
    ],
)
def test_what_cannot_be_compared_is_one_line(scene, tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", object=scene)
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(InputError, match=message):
        compare_objects(tmp_path / "a.npz", tmp_path / "b.npz")
