"""The simulated dataset as a whole: splits, phases, noise, determinism, file layout."""

import numpy as np
import pytest

from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.files import io
from ptycho_torch.simulate.dataset import SPLITS, make_probe, simulate_dataset, simulate_split


def changed(study, **updates) -> SimulatedDataset:
    data = study.datasets["tiny"].model_dump()
    for block, values in updates.items():
        data[block] = {**data[block], **values} if isinstance(values, dict) else values
    return SimulatedDataset.model_validate(data)


def split_of(settings, split="train", **more):
    return simulate_split(settings, split, make_probe(settings.probe, settings.patch_px), **more)


def test_the_same_settings_give_the_same_bytes(tiny_study, tmp_path):
    """Groups of four and two images, so that batches and orders have room to differ."""
    settings = changed(tiny_study, images_per_split=2, scan={"gridsize": 2, "group_offset_px": 3})
    sums = []
    for time in (1, 2):
        paths = {split: tmp_path / f"{time}-{split}.npz" for split in SPLITS}
        simulate_dataset(settings, name="d", splits=paths, summary=tmp_path / "d.json")
        sums.append([io.sha256(path) for path in paths.values()])
        assert io.read_json(tmp_path / "d.json")["splits"]["test"]["sha256"] == sums[-1][2]
    assert sums[0] == sums[1]
    assert np.bincount(io.read_npz(paths["test"])["image_index"]).tolist() == [100, 100]


def test_illuminated_amplitude_is_object_times_probe(tiny_dataset):
    arrays = io.read_npz(tiny_dataset.splits["test"])
    corner = arrays["coords_offsets"][5, 0, :, 0].astype(int)
    patch = arrays["YY_full"][0, corner[0] : corner[0] + 16, corner[1] : corner[1] + 16, 0]
    expected = np.abs(patch) / float(arrays["norm_Y_I"]) * np.abs(arrays["probeGuess"])
    np.testing.assert_allclose(arrays["Y_I"][5, ..., 0], expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(arrays["Y_phi"][5, ..., 0], np.angle(patch), atol=1e-6)


def test_without_set_phi_the_phase_is_zero_and_the_amplitude_stays(tiny_study):
    on = split_of(changed(tiny_study)).arrays
    off = split_of(changed(tiny_study, object={"set_phi": False})).arrays
    assert np.abs(off["Y_phi"]).max() == 0
    assert on["Y_phi"].std() > 0.1
    np.testing.assert_allclose(np.abs(on["YY_full"]), np.abs(off["YY_full"]), rtol=1e-6)


def test_phase_is_the_stated_function_of_the_amplitude_or_independent_of_it(tiny_study):
    dependent = split_of(changed(tiny_study)).arrays["YY_full"]
    amplitude = np.abs(dependent).astype(np.float64)
    stated = np.pi * np.tanh((amplitude - amplitude.max() / 2) / (3 * amplitude.mean()))
    np.testing.assert_allclose(np.angle(dependent), stated, atol=1e-5)

    free = split_of(changed(tiny_study, object={"phase": "independent"})).arrays["YY_full"]
    np.testing.assert_allclose(np.abs(free), amplitude, rtol=1e-6)
    correlation = np.corrcoef(np.angle(free).ravel(), amplitude.ravel())[0, 1]
    assert abs(correlation) < 0.5 < np.corrcoef(stated.ravel(), amplitude.ravel())[0, 1]


def test_photons_scale_the_noise_and_none_means_none(tiny_study):
    floors = [split_of(changed(tiny_study, photons=p)).noise_floor for p in (1e9, 1e7)]
    assert floors[1] == pytest.approx(10 * floors[0], rel=0.3)
    assert split_of(changed(tiny_study, noise="none")).noise_floor == 0


def test_groups_of_four_overlap_by_the_offset(tiny_study):
    settings = changed(tiny_study, scan={"gridsize": 2, "group_offset_px": 3})
    arrays = split_of(settings).arrays
    groups = ((56 - 16 - 3) // 4 + 1) ** 2
    assert arrays["diffraction"].shape == (groups, 16, 16, 4)
    np.testing.assert_array_equal(arrays["coords_nominal"][7, 0], [[0, 0, 3, 3], [0, 3, 0, 3]])
    phase = arrays["Y_phi"][7]
    np.testing.assert_array_equal(phase[3:, :, 0], phase[:-3, :, 2])
    np.testing.assert_array_equal(phase[:, 3:, 0], phase[:, :-3, 1])


def test_splits_share_the_scale_and_differ_in_object_step_and_noise(tiny_study, tiny_dataset):
    splits = [io.read_npz(tiny_dataset.splits[split]) for split in SPLITS]
    assert len({split["YY_full"].tobytes() for split in splits}) == 3
    assert len({float(split["intensity_scale"]) for split in splits}) == 1
    settings = changed(tiny_study, scan={"train_step_px": 4, "test_step_px": 8})
    groups = [len(split_of(settings, split).arrays["diffraction"]) for split in SPLITS]
    assert groups == [121, 36, 36]
    # The same object twice, so that only the noise can differ.
    alike = settings.seeds.model_copy(update={"test": 3, "validation": 3})
    same = changed(tiny_study).model_copy(update={"seeds": alike})
    one, other = (split_of(same, split, intensity_scale=1e3).arrays for split in SPLITS[1:])
    np.testing.assert_array_equal(one["YY_full"], other["YY_full"])
    assert not np.array_equal(one["diffraction"], other["diffraction"])
