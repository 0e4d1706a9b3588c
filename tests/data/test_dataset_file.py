"""Splits of other programs load, damaged and foreign ones get one clear error; frames are kept out
by position, and groups are of neighbours."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ptycho_torch.config.scan import GroupSettings
from ptycho_torch.data.batch import neighbour_groups
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.data.hold_out import hold_out, overlap_px
from ptycho_torch.data.scan import Scan
from ptycho_torch.runtime.errors import InputError


@pytest.fixture
def arrays(tiny_dataset):
    return dict(np.load(tiny_dataset.splits["test"]))


@pytest.fixture
def written(tmp_path, arrays):
    def write(**changes):
        path = tmp_path / "split.npz"
        data = {**arrays, **changes}
        np.savez(path, **{k: v for k, v in data.items() if v is not None})
        return path

    return write


def test_our_own_file_reads_back_as_written(written, arrays):
    split = read_split(written(), patch_px=16)
    np.testing.assert_array_equal(split.arrays["diffraction"], arrays["diffraction"])
    assert split.norm_Y_I == float(arrays["norm_Y_I"])
    assert split.diffraction_nCHW.shape == (len(arrays["diffraction"]), 1, 16, 16)
    assert split.probe_MHW.shape == (1, 16, 16)


def test_a_probe_is_one_complex_array_round_the_centre(written, arrays, caplog):
    probe = arrays["probeGuess"]
    with pytest.raises(InputError, match="'probeGuess' .* real and imaginary part.*store it"):
        read_split(written(probeGuess=np.stack([probe.real, probe.imag])), patch_px=16)
    split = read_split(written(probeGuess=np.fft.ifftshift(probe)[None]), patch_px=16)
    np.testing.assert_array_equal(split.probe_MHW[0], probe)
    assert "the probe lies in the corners" in caplog.text


@pytest.mark.parametrize("key", ["Y_I", "norm_Y_I"])
def test_an_optional_array_that_is_pickled_is_left_out_and_said(written, caplog, key):
    split = read_split(written(**{key: np.array(None, dtype=object)}), patch_px=16)
    assert key not in split.arrays
    assert f"'{key}' is pickled, which is never loaded: left out" in caplog.text
    with pytest.raises(InputError, match="'coords_nominal' cannot be read: it is pickled"):
        read_split(written(coords_nominal=np.array(None, dtype=object)), patch_px=16)


def test_extra_keys_float64_and_missing_scalars_load_and_are_said(written, arrays, caplog):
    gone = dict.fromkeys(("norm_Y_I", "intensity_scale", "image_index"))
    double = arrays["diffraction"].astype(np.float64)
    path = written(**gone, comment=np.array("made elsewhere"), diffraction=double)
    split = read_split(path, patch_px=16, photons=1e4)
    assert split.arrays["diffraction"].dtype == np.float32
    assert split.norm_Y_I == pytest.approx(float(arrays["norm_Y_I"]), rel=1e-5)
    power = np.square(arrays["diffraction"], dtype=float).sum(axis=(1, 2)).mean()
    assert split.intensity_scale == pytest.approx((1e4 / power) ** 0.5)
    assert split.intensity_scale_source == "given"
    np.testing.assert_array_equal(split.arrays["image_index"], arrays["image_index"])
    assert "has no norm_Y_I; measured" in caplog.text
    assert "10000 photons a frame give s" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *(("diffraction", (value,), f"'diffraction' has .*{message}") for value, message in (
            (np.nan, "1 values that are NaN"), (1e300, "infinite"), (-1, "negative"))),
        ("diffraction", None, "has no array 'diffraction'; it has: Y_I"),
        ("diffraction", np.ones((5, 16, 16), np.float32), r"is \(5, 16, 16\) .*expected real \(n, 16, 16, C\)"),
        ("diffraction", np.array("a"), "expected real"),
        ("probeGuess", np.ones((8, 8), np.complex64), r"'probeGuess' is .*expected complex \(16, 16\) or"),
        ("probeGuess", np.zeros((16, 16)), "'probeGuess' is zero everywhere"),
        ("coords_offsets", np.zeros((1, 1, 2, 1)), "'coords_offsets' is"),
        ("image_index", np.full(121, 5), "'image_index' must say which of the 1 images"),
        ("YY_full", np.ones((1, 56, 56)), r"'YY_full' is .*expected complex \(images, height, width, 1\)"),
        ("YY_full", np.zeros((1, 56, 56, 1)), "'YY_full' is zero everywhere"),
        ("norm_Y_I", np.zeros(2), "'norm_Y_I' is .2,. float64"),
        ("intensity_scale", np.array(-1.0), "'intensity_scale' must be one number > 0"),
    ],
)  # fmt: skip
def test_each_wrong_array_is_named_with_what_was_expected(written, arrays, key, value, message):
    """Those of a tuple are wrong in one pixel."""
    if isinstance(value, tuple):
        frames, (pixel,) = arrays[key].astype(float), value
        frames[3, 2, 1, 0] = pixel
        value = frames
    path = written(**{key: value})
    with pytest.raises(InputError, match=message) as caught:
        read_split(path, patch_px=16)
    assert str(caught.value).startswith(str(path))


def scattered(frames=60, size=40, seed=0):
    return np.random.default_rng(seed).random((frames, 2)) * size


def grouped(positions, **changes):
    scan = Scan(
        source="x", positions_n2=positions,
        amplitude_nHW=np.ones((len(positions), 32, 32), np.float32),
    )  # fmt: skip
    seed, every = changes.pop("seed", 0), np.arange(len(positions))
    return neighbour_groups(scan, every, GroupSettings(gridsize=2, **changes), seed=seed)


def held(positions, **changes):
    asked = {"fraction": 0.2, "gap_px": 6.0, "seed": 0, "source": "x"}
    return hold_out(positions, **{**asked, **changes})


def test_the_held_out_frames_are_one_block_not_a_random_choice():
    """That none of the others is within the gap: tests/real_data/test_measurements.py."""
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
        (np.repeat(scattered(), 2, axis=0), {}, "x: frames .* at one place"),
        (scattered(size=4000), {}, "they do not overlap"),
    ],
)
def test_what_makes_no_groups_is_refused(positions, changes, said):
    with pytest.raises(InputError, match=said):
        grouped(positions, **changes)
