"""The simulated dataset: splits, phases, noise, determinism, file layout; probes: shape, centre,
symmetry, normalisation; splits of another program become ours."""

import numpy as np
import pytest

from ptycho_torch.config import dataset
from ptycho_torch.config.dataset import DiskProbe, FileProbe, SimulatedDataset, TriangleProbe
from ptycho_torch.data.training import data_of_splits
from ptycho_torch.data.units import normalisation, radius_px
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import (
    SPLITS,
    make_probe,
    simulate_dataset,
    simulate_split,
    triangle_mask,
)
from ptycho_torch.simulate.files import import_dataset


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


PROBES = [
    TriangleProbe(shape="triangle"),
    DiskProbe(shape="disk"),
    DiskProbe(shape="disk", edge_phase_rad=0.9),
]


@pytest.mark.parametrize("settings", PROBES)
@pytest.mark.parametrize("side", [32, 33, 64])
def test_every_probe_is_normalised_alike(settings, side):
    assert normalisation(make_probe(settings, side)) == pytest.approx(1)


def test_triangle_is_equilateral_with_a_corner_up_and_its_centroid_in_the_centre():
    mask = triangle_mask(256, 0.325 * 256)
    rows, columns = np.nonzero(mask)
    assert rows.mean() == pytest.approx(127.5, abs=0.5)
    assert columns.mean() == pytest.approx(127.5, abs=0.1)
    assert mask.sum() == pytest.approx(3 * np.sqrt(3) / 4 * (0.325 * 256) ** 2, rel=0.01)
    widths = mask.sum(axis=1)[rows.min() : rows.max() + 1]
    assert widths[0] < 4 and (np.diff(widths) >= 0).all()


def test_only_the_triangle_breaks_the_symmetry_that_allows_a_twin():
    triangle, disk, _ = (np.abs(make_probe(p, 64)) for p in PROBES)
    np.testing.assert_allclose(disk[::-1, ::-1], disk, atol=1e-12)
    assert (triangle[::-1, ::-1] * triangle).sum() / (triangle**2).sum() < 0.8


def test_edge_phase_is_reached_at_the_circumradius():
    probes = (TriangleProbe(shape="triangle", edge_phase_rad=rad) for rad in (0.0, 3.2))
    flat, curved = (make_probe(probe, 64) for probe in probes)
    expected = 3.2 * (radius_px(64) / (0.325 * 64)) ** 2
    lit = np.abs(flat) > 1e-3 * np.abs(flat).max()
    difference = np.angle(curved * np.conj(flat) * np.exp(-1j * expected))
    np.testing.assert_allclose(difference[lit], 0, atol=1e-9)


@pytest.fixture
def probe_of_file(tmp_path):
    def make(array, side, resize="refuse"):
        np.savez(tmp_path / "probe.npz", probeGuess=array)
        how = {"path": str(tmp_path / "probe.npz"), "resize": resize, "smoothing_sigma_px": 0}
        return make_probe(FileProbe(shape="file", **how), side)

    return make


def smooth_probe(side, curvature=0.02):
    squared = radius_px(side) ** 2
    return np.exp(-squared / (side / 4) ** 2 + 1j * curvature * squared)


def test_modes_keep_their_ratio_interpolation_the_shape_and_padding_the_centre(probe_of_file):
    modes = np.stack([smooth_probe(32), 0.5 * smooth_probe(32, 0.1)])
    made = probe_of_file(modes, 32)
    np.testing.assert_allclose(made[1] / made[0], modes[1] / modes[0], rtol=1e-9)
    assert normalisation(made) == pytest.approx(1)
    made = np.abs(probe_of_file(smooth_probe(32, 0.0), 64, "interpolate"))
    assert np.corrcoef(made.ravel(), np.abs(smooth_probe(64, 0.0)).ravel())[0, 1] > 0.999
    given = smooth_probe(32)
    padded = probe_of_file(given, 64, "pad")
    ratio = padded[16:48, 16:48] / given
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)
    assert padded[0, 0] == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((4, 5)), "expected complex .H, H. or .M, H, H."),
        (np.full((32, 32), np.nan), "finite"),
        (np.eye(32)[:, ::-1] * (radius_px(32) > 12), "dark within a quarter"),
        (np.ones((16, 16)), "is 16 px, the patches are 32 px; set probe.resize"),
    ],
)
def test_unusable_probe_files_are_refused(probe_of_file, array, message):
    with pytest.raises(InputError, match=message):
        probe_of_file(array, 32)


N = 16


@pytest.fixture
def imported(tiny_dataset, tmp_path):
    """Write the tiny study's splits as `change` leaves them, and take them in."""

    def do(change=lambda arrays: None, **settings):
        for split in SPLITS:
            arrays = dict(np.load(tiny_dataset.splits[split]))
            change(arrays)
            np.savez(tmp_path / f"{split}.npz", **arrays)
        found = dataset.DatasetFiles(
            source="files", patch_px=N, test_step_px=4,
            **{split: str(tmp_path / f"{split}.npz") for split in SPLITS}, **settings,
        )  # fmt: skip
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        files = {split: out / f"{split}.npz" for split in SPLITS}
        import_dataset(found, name="taken", splits=files, summary=out / "dataset.json")
        return files, out / "dataset.json"

    return do


def drop(*keys):
    return lambda arrays: [arrays.pop(key, None) for key in keys]


def centres(arrays):
    arrays["coords_offsets"] = arrays["coords_offsets"] + N // 2


def other_scale(arrays):
    """The probe of a program that does not normalise, in frames of its own units."""
    for key, power in (("probeGuess", -1), ("diffraction", -1), ("intensity_scale", 1)):
        arrays[key] = arrays[key] * 2.7234**power


def legacy(arrays):
    centres(arrays)
    drop("norm_Y_I", "image_index")(arrays)
    if "YY_ground_truth" in arrays:
        arrays["YY_ground_truth"] = arrays["YY_ground_truth"][0]


@pytest.mark.parametrize(
    ("change", "reading"),
    [
        (lambda arrays: None, {}),
        (legacy, {"origin": "centre"}),
        (other_scale, {}),
        (lambda a: a.update(coords_offsets=a["coords_offsets"][:, :, ::-1]), {"swap_axes": True}),
        (lambda a: a.update(diffraction=a["diffraction"] ** 2), {"values": "intensity"}),
        (lambda a: a.update(diffraction=np.fft.ifftshift(a["diffraction"], axes=(1, 2))),
         {"zero_frequency": "corner"}),
    ],
)  # fmt: skip
def test_splits_in_other_conventions_become_ours(imported, tiny_dataset, tmp_path, change, reading):
    files, summary = imported(change, reading=reading)
    for split in SPLITS:
        source = io.read_json(summary)["splits"][split]["source_sha256"]
        assert source == io.sha256(tmp_path / f"{split}.npz")
        ours, found = (dict(np.load(f[split])) for f in (tiny_dataset.splits, files))
        for key in ("diffraction", "probeGuess", "coords_offsets", "intensity_scale", "norm_Y_I"):
            scale = np.abs(ours[key]).max()
            np.testing.assert_allclose(found[key], ours[key], atol=2e-3 * scale, err_msg=key)


@pytest.mark.parametrize("photons", [1e4, 1e9])
def test_photons_that_a_user_says_are_those_of_every_frame_and_called_given(imported, photons):
    files, summary = imported(drop("intensity_scale"), photons=photons)
    data = data_of_splits(files, summary, patch_px=N)
    assert data.intensity_scale_source == "given"
    scale = data.scales["train"].intensity_scale
    light = (scale * data.train.amplitude_BCHW).square().sum(dim=(-2, -1)).mean().item()
    assert light == pytest.approx(photons, rel=1e-4)
    assert data.scales["validation"].intensity_scale == scale
    assert io.read_json(summary)["intensity_scale"] == pytest.approx(scale)


def test_what_has_no_effect_on_splits_is_refused(imported):
    with pytest.raises(ValueError, match="reading.pixel_m has no effect on splits"):
        imported(reading={"pixel_m": 1e-8})
    with pytest.raises(InputError, match="have corners from 8 to 48, the objects are"):
        imported(centres)
