"""Statistics of patches, with numbers worked out by hand; scales in force."""

import json

import numpy as np
import pytest

from ptycho_torch.data.patch_statistics import (
    chosen_patches,
    patch_statistics,
    statistics_record,
    write_patch_statistics,
)
from ptycho_torch.data.units import ScaleLost, Scales, check_scale_reached


def test_statistics_worked_out_by_hand():
    """1, 3, 3i, i: moduli 1, 3, 3, 1; mean 1 + i; mean square 5; about the mean 5 - 2."""
    found = patch_statistics(np.array([[[1, 3], [3j, 1j]]]))
    plain = {name: float(value[0]) for name, value in found["amplitude"].items()}
    assert plain == pytest.approx({"mean": 2, "std": 1, "min": 1, "max": 3, "var_zero_mean": 1})
    wave = {name: float(value[0]) for name, value in found["complex"].items()}
    assert wave == pytest.approx({"var_zero_mean": 3})


def test_each_patch_has_its_own_mean_and_its_phase_is_free():
    """About the mean of all patches, the variance of two constant ones would be 1."""
    found = patch_statistics(np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)]))
    assert found["amplitude"]["var_zero_mean"].tolist() == [0, 0] and "complex" not in found
    stream = np.random.default_rng(0)
    patches = stream.normal(size=(300, 5, 5)) + 1j * stream.normal(size=(300, 5, 5))
    plain, turned = patch_statistics(patches), patch_statistics(2 * patches * np.exp(1.1j))
    np.testing.assert_allclose(
        turned["complex"]["var_zero_mean"], 4 * plain["complex"]["var_zero_mean"]
    )


def test_what_is_not_finite_is_null():
    patches = np.ones((3, 2, 2), complex)
    patches[1, 0, 0] = np.nan
    record = json.loads(json.dumps(statistics_record(patch_statistics(patches)), allow_nan=False))
    assert record["amplitude"]["var_zero_mean"] == [0, None, 0]
    assert record["complex"]["var_zero_mean"] == [0, None, 0]


def test_the_file_has_evenly_chosen_patches_and_the_scales(tmp_path):
    assert chosen_patches(101, 5).tolist() == [0, 25, 50, 75, 100]
    patches = np.arange(5)[:, None, None] + np.array([[0, 1], [0, 1]])
    scales = Scales(input_scale=0.5, intensity_scale=30.0, intensity_scale_source="learned")
    write_patch_statistics(tmp_path, patches, scales, limit=3, made_by="a test")
    found = json.loads((tmp_path / "patch_stats.json").read_text())
    assert (found["patches"], found["chosen"], found["limit"]) == (5, [0, 2, 4], 3)
    assert found["amplitude"]["mean"] == [0.5, 2.5, 4.5]
    assert found["scales"] == {**scales.model_dump(), "norm_Y_I": None}
    assert (tmp_path / "patches.png").stat().st_size > 1000


def test_a_lost_scale_is_told_and_a_kept_one_is_not():
    raw = np.random.default_rng(1).random((4, 8, 8))
    check_scale_reached("s", 2.5, raw, (raw / 2.5).astype(np.float32))
    check_scale_reached("s", 2.5, raw * 0, raw * 0)
    for lost in (raw, raw / 2.6, raw * 0):
        with pytest.raises(ScaleLost, match=r"s of 2\.5 was requested, .* lost on its way"):
            check_scale_reached("s", 2.5, raw, lost)
