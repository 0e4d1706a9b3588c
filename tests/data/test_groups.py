"""Frames kept out by position, and groups of neighbours: what each promises, and what is refused."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ptycho_torch.config.scan import GroupSettings
from ptycho_torch.data.groups import neighbour_groups
from ptycho_torch.data.hold_out import hold_out, overlap_px
from ptycho_torch.runtime.errors import InputError


def scattered(frames=60, size=40, seed=0):
    return np.random.default_rng(seed).random((frames, 2)) * size


def grouped(positions, **changes):
    options = {"seed": changes.pop("seed", 0), "side_px": 32, "source": "x"}
    return neighbour_groups(positions, GroupSettings(gridsize=2, **changes), **options)


def held(positions, **changes):
    asked = {"fraction": 0.2, "gap_px": 6.0, "seed": 0, "source": "x"}
    return hold_out(positions, **{**asked, **changes})


def test_the_held_out_frames_are_one_block_not_a_random_choice():
    """That none of the others is within the gap: tests/real_data/test_split.py."""
    positions = scattered(400)
    kept = held(positions)
    block = positions[kept.validation]
    assert len(block) == 80 and sorted(np.concatenate(kept)) == list(range(400))
    assert np.ptp(block, axis=0).max() < 0.7 * 40
    alone = cdist(block, block) + 99 * np.eye(len(block))
    assert alone.min(axis=1).max() < 6


def test_the_seed_decides_the_corner_and_nothing_else_does():
    positions = scattered()
    np.testing.assert_equal(held(positions, seed=3), held(positions, seed=3))
    assert len({tuple(held(positions, seed=s).validation) for s in range(40)}) == 4
    with pytest.raises(InputError, match="x: keeping out 12 of 60 frames .* leaves none to train"):
        held(positions, gap_px=99.0)


def test_the_overlap_of_a_disk_ends_near_its_diameter():
    """Two disks of radius 8 share nothing 16 px apart; 1 % of their area a little before."""
    axis = np.arange(64) - 31.5
    disk = (np.hypot(axis[:, None], axis) < 8).astype(complex)[None]
    assert 14 < overlap_px(disk) <= 17
    assert overlap_px(np.roll(disk, 9, axis=1)) == pytest.approx(overlap_px(disk))


@pytest.mark.parametrize("candidates", [4, 20])
def test_every_frame_is_used_and_groups_are_distinct_neighbours(candidates):
    positions = scattered()
    groups = grouped(positions, neighbor_count=candidates)
    assert groups.shape == (60, 4)
    assert set(groups.ravel()) == set(range(60))
    nearest = np.argsort(cdist(positions, positions), axis=1)[:, 1 : candidates + 1]
    for first, *others in groups:
        assert len({first, *others}) == 4 and set(others) <= set(nearest[first])
    last = [first for first, *others in groups if nearest[first][-1] in others]
    assert last  # Drawn from all of them, not from the nearest alone.


@pytest.mark.parametrize("count", [7, 60, 150])
def test_the_number_of_groups_is_as_requested_and_the_seed_draws_them(count):
    groups = grouped(scattered(), n_images=count)
    assert len(groups) == count
    assert np.array_equal(groups, grouped(scattered(), n_images=count))
    assert not np.array_equal(groups, grouped(scattered(), n_images=count, seed=1))
    firsts = np.bincount(groups[:, 0], minlength=60)
    assert firsts.max() - firsts.min() <= 1


@pytest.mark.parametrize(
    ("positions", "changes", "said"),
    [
        (scattered(3), {}, "x: has 3 frames, a group needs 4"),
        (scattered(), {"neighbor_count": 3}, "x: neighbor_count of 3 is less than the 4 frames"),
        (np.repeat(scattered(), 2, axis=0), {}, "x: frames .* at one place"),
        (scattered(size=4000), {}, "they do not overlap"),
    ],
)
def test_what_makes_no_groups_is_refused(positions, changes, said):
    with pytest.raises(InputError, match=said):
        grouped(positions, **changes)
