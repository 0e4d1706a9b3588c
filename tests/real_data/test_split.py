"""Frames are held out by where they were taken, and both halves see everything."""

import json

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ptycho_torch.config.real_data import RegionSettings
from ptycho_torch.data.hold_out import half_light_radius_px, hold_out_region, interleaved_halves
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import PARTS
from ptycho_torch.runtime.errors import InputError


@pytest.fixture(params=["raster", "scattered", "shuffled"])
def positions(request):
    stream = np.random.default_rng(1)
    if request.param == "scattered":
        return stream.uniform(0, 60, (300, 2))
    raster = np.stack(np.meshgrid(*[np.arange(20) * 3.0] * 2, indexing="ij"), -1).reshape(-1, 2)
    return stream.permutation(raster) if request.param == "shuffled" else raster


def test_no_training_frame_is_within_the_gap_of_one_held_out(positions):
    region = RegionSettings(rows=[0.3, 0.5], columns=[0.2, 0.6])
    kept = hold_out_region(positions, region, gap_px=5.0, source="s")
    every = np.concatenate([kept.train, kept.validation, kept.gap])
    np.testing.assert_array_equal(np.sort(every), np.arange(len(positions)))
    nearest, _ = cKDTree(positions[kept.validation]).query(positions)
    assert nearest[kept.train].min() >= 5 and nearest[kept.gap].max() < 5
    share = (positions[kept.validation] - positions.min(0)) / np.ptp(positions, axis=0)
    assert (share >= (0.3, 0.2)).all() and (share <= (0.5, 0.6)).all()


def test_halves_are_disjoint_and_each_covers_what_the_other_does(positions):
    halves = interleaved_halves(positions)
    np.testing.assert_array_equal(np.sort(np.concatenate(halves)), np.arange(len(positions)))
    assert abs(len(halves[0]) - len(halves[1])) <= 1
    spacing = np.sqrt(np.ptp(positions, axis=0).prod() / len(positions))
    for one, other in (halves, halves[::-1]):
        apart, _ = cKDTree(positions[other]).query(positions[one])
        # Of a random half, one frame in sixteen has four neighbours of its own half.
        assert np.percentile(apart, 97) <= 1.3 * spacing


def test_a_region_without_frames_and_a_gap_without_mercy_are_refused(positions):
    inside = np.unique(positions[:, 0])[10]
    between = positions[np.abs(positions[:, 0] - inside) > 1.5]
    share = float((inside - positions[:, 0].min()) / np.ptp(positions[:, 0]))
    narrow = RegionSettings(rows=[share, share + 1e-6], columns=[0.0, 1.0])
    with pytest.raises(InputError, match="no frame lies"):
        hold_out_region(between, narrow, gap_px=1, source="s")
    with pytest.raises(InputError, match="leaves none"):
        hold_out_region(positions, RegionSettings(), gap_px=1e3, source="s")


def test_half_of_a_disks_light_is_within_root_half_of_its_radius():
    rows, columns = np.indices((64, 64))
    disk = (np.hypot(rows - 30, columns - 35) <= 20).astype(complex)
    assert half_light_radius_px(disk[None]) == pytest.approx(20 / 2**0.5, abs=0.5)


def test_parts_are_read_back_as_they_were_split(results, truth):
    split = json.loads((results.folder / "small/split.json").read_text())
    for part in PARTS:
        scan = read_scan(results.folder / f"small/frames/{part}.npz")
        index = split["parts"][part]
        np.testing.assert_allclose(scan.positions_n2, truth.positions[index], atol=1e-5)
        np.testing.assert_allclose(scan.amplitude_nHW**2, truth.counts[index], rtol=1e-5)
        assert scan.intensity_scale == 1
    # Of the file's guess, for nothing else is said.
    radius = half_light_radius_px(truth.probe)
    assert split["gap_px"] == pytest.approx(radius, rel=1e-5)
    held, train = (truth.positions[split["parts"][part]] for part in ("held_out", "train"))
    assert np.hypot(*(held[:, None] - train).transpose(2, 0, 1)).min() >= radius
    assert set(split["parts"]["half_a"]) | set(split["parts"]["half_b"]) == set(
        split["parts"]["train"]
    )
