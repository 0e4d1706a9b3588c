"""Inference: what a bundle sees in a file, in which units, and how it is stitched; training and
inference of one bundle agree."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import fourier_shift
from tests.samples import untrained_bundle

from ptycho_torch.config.evaluation import ParitySettings
from ptycho_torch.config.scan import InferSettings
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.units import ScaleLost
from ptycho_torch.files import io
from ptycho_torch.infer import compare as comparing
from ptycho_torch.infer import dump as dumping
from ptycho_torch.infer import run as inference
from ptycho_torch.infer.compare import report_parity, require_parity
from ptycho_torch.infer.dump import read_dump, write_dump
from ptycho_torch.infer.outputs import OUTPUTS, infer_file, infer_split, inference_dump
from ptycho_torch.infer.run import infer_scan, stitch
from ptycho_torch.networks.bundle import read_bundle, write_bundle
from ptycho_torch.runtime.errors import InputError

N = 16


@pytest.fixture
def scan(tiny_dataset):
    return read_scan(tiny_dataset.splits["test"])


@pytest.fixture
def bundle(scan):
    """A network that was not trained, in the units of the tiny dataset."""
    units = {"intensity_scale": scan.intensity_scale}
    return lambda **changes: untrained_bundle(scan.probe_MHW, **units | changes)


def shifted(scan, by):
    """Patches of the scan's object from fractional corners on, and those corners."""
    spectrum = np.fft.fft2(np.pad(scan.object_YX, 8, mode="wrap"))
    moved = np.fft.ifft2(fourier_shift(spectrum, np.negative(by)))[8:-8, 8:-8]
    corners = scan.positions_n2.astype(int)
    corners = corners[(corners + N < moved.shape).all(axis=1)]
    return np.stack([moved[r : r + N, c : c + N] for r, c in corners]), corners + np.array(by)


@pytest.mark.parametrize("by", [(0.0, 0.0), (0.4, -0.3)])
def test_patches_of_an_object_stitch_to_that_object(scan, by):
    """At fractional positions too: rounded away they are another object."""
    patches, positions = shifted(scan, by)
    found = stitch(patches, positions, scan.probe_MHW)
    rows, columns = found.object_YX.shape
    top, left = found.origin_2
    true = scan.object_YX[max(top, 0) : top + rows, max(left, 0) : left + columns]
    inside = slice(max(-top, 0), None), slice(max(-left, 0), None)
    cut = slice(true.shape[0]), slice(true.shape[1])
    bright = found.coverage_YX[inside][cut] > 1
    error = np.abs(found.object_YX[inside][cut] - true)[bright]
    assert np.median(error) < (1e-5 if by == (0.0, 0.0) else 0.03)
    rounded = stitch(patches, np.rint(positions), scan.probe_MHW)
    apart = np.abs(rounded.object_YX - found.object_YX)[8:-8, 8:-8].mean()
    assert apart > 0.02 if any(by) else apart == 0


def test_stitching_is_the_mean_of_patches_weighted_by_the_illumination(scan, bundle):
    """On whole pixels, summed patch by patch: what a network draws in the dark counts nothing."""
    found = infer_scan(bundle(), scan)
    weight = (np.abs(scan.probe_MHW) ** 2).sum(axis=0)
    corners = scan.positions_n2.astype(np.int64)
    total, weights = np.zeros((2, *(corners.max(axis=0) + N)), complex)
    for (r, c), patch in zip(corners, found.patches_PHW, strict=True):
        total[r : r + N, c : c + N] += weight * patch
        weights[r : r + N, c : c + N] += weight
    top, left = found.stitched.origin_2
    bright = found.stitched.coverage_YX > 0.1
    rows, columns = bright.shape
    window = slice(top, top + rows), slice(left, left + columns)
    theirs = total[window][bright] / weights[window][bright]
    np.testing.assert_allclose(found.stitched.object_YX[bright], theirs, atol=2e-5)


def dimmed(scan, factor, scale):
    amplitude = (scan.amplitude_nHW * factor).astype(np.float32)
    return replace(scan, source="dim", amplitude_nHW=amplitude, intensity_scale=scale)


def test_frames_come_into_the_bundles_units_whatever_units_the_file_has(bundle, scan):
    """Counts, amplitudes in other units, or no photons at all: the network sees the same."""
    known, s = bundle(), scan.intensity_scale
    seen = infer_scan(known, scan)
    assert seen.unit == pytest.approx(1)
    roots = infer_scan(known, dimmed(scan, s, 1.0))
    assert roots.unit == pytest.approx(s) and "stored" in roots.report["unit_source"]
    np.testing.assert_allclose(roots.patches_PHW, seen.patches_PHW, atol=1e-4)
    given = infer_scan(known, dimmed(scan, 3.0, None), InferSettings(scale=s / 3))
    np.testing.assert_allclose(given.patches_PHW, seen.patches_PHW, atol=1e-4)
    unknown = [infer_scan(known, dimmed(scan, f, None)) for f in (1.0, 7.0)]
    assert "measured" in unknown[0].report["unit_source"]
    assert unknown[1].unit == pytest.approx(7 * unknown[0].unit)
    np.testing.assert_allclose(unknown[0].patches_PHW, unknown[1].patches_PHW, atol=1e-4)
    with pytest.raises(InputError, match="dim: does not say its photons"):
        infer_scan(known, dimmed(scan, 1.0, None), InferSettings(scale="stored"))


@pytest.mark.parametrize("scale", ["stored", "measured", 250.0])
def test_the_scale_in_force_is_the_one_that_was_requested(bundle, scan, scale, caplog):
    caplog.set_level(logging.INFO)
    learned = bundle(intensity_scale=1000.0, intensity_scale_source="learned")
    found = infer_scan(learned, scan, InferSettings(scale=scale))
    scales = inference_dump(learned, scan, found).scales
    expected = found.unit * scan.intensity_scale if scale == "measured" else 1000.0
    assert scales.intensity_scale == pytest.approx(expected)
    assert scale != 250.0 or found.unit == pytest.approx(4.0)
    assert scales.intensity_scale_source == "learned"
    assert "s = 1000, learned" in caplog.text


def test_a_unit_that_is_lost_on_its_way_is_no_result(bundle, scan, monkeypatch):
    plain = inference.groups_of_scan
    monkeypatch.setattr(inference, "groups_of_scan", lambda s, m, unit: plain(s, m, 1.0))
    with pytest.raises(ScaleLost, match="of 4 was requested"):
        infer_scan(bundle(intensity_scale=1000.0), scan, InferSettings(scale=250.0))


def test_another_probe_is_said_and_not_used(bundle, scan, caplog):
    other = replace(scan, source="other", probe_MHW=np.roll(scan.probe_MHW, 2, axis=1))
    found = infer_scan(bundle(), other, InferSettings(scale=250.0))
    assert "other: has another probe than the bundle" in caplog.text
    caplog.clear()
    own = infer_scan(bundle(), scan, InferSettings(scale=250.0))
    assert np.array_equal(found.stitched.object_YX, own.stitched.object_YX)
    # No diffraction data fix a probe's phase.
    turned = replace(scan, probe_MHW=scan.probe_MHW * np.complex64(np.exp(2j)))
    infer_scan(bundle(), turned, InferSettings(scale=250.0))
    assert "another probe" not in caplog.text


def test_frames_of_another_size_are_refused_and_masked_pixels_do_not_count(bundle, scan):
    small = replace(scan, amplitude_nHW=scan.amplitude_nHW[:, 4:12, 4:12], probe_MHW=None)
    with pytest.raises(InputError, match=r"frames are 8 px, the bundle was trained on 16 px"):
        infer_scan(bundle(), small)
    good = np.ones((1, N, N), bool)
    good[0, 6:10, 6:10] = False
    frames = np.where(good, scan.amplitude_nHW, np.nan).astype(np.float32)
    masked = replace(scan, amplitude_nHW=frames, good_1HW=good)
    assert np.isfinite(infer_scan(bundle(), masked, InferSettings(scale=250.0)).report["r_factor"])


def test_a_folder_with_object_report_and_pictures_is_left(bundle, tiny_dataset, tmp_path):
    write_bundle(tmp_path / "bundle", bundle())
    files, out = (tmp_path / "bundle", tiny_dataset.splits["test"]), tmp_path / "out"
    found = infer_file(*files, out, patch_stats_limit=2)
    assert {p.name for p in out.iterdir()} == {*OUTPUTS, "patch_stats.json", "patches.png"}
    arrays = io.read_npz(out / "object.npz")
    assert arrays["object"].dtype == np.complex64
    np.testing.assert_array_equal(arrays["object"], found.stitched.object_YX)
    report = io.read_json(out / "report.json")
    assert report["r_factor"] == found.report["r_factor"]
    assert report["test_data"]["sha256"] == io.sha256(files[1])
    # Statistics of the results that are replaced go; a picture of the user's own stays.
    (out / "mine.png").write_bytes(b"")
    infer_file(*files, out, overwrite=True)
    assert {p.name for p in out.iterdir()} == {*OUTPUTS, "mine.png"}


@pytest.fixture(scope="module")
def run(plain, tiny_dataset):
    """A trained run of the tiny study, what its bundle sees in the test split, and the patches
    that its training predicted there."""
    dump = infer_split(plain.folder / "bundle", tiny_dataset.splits["test"], InferSettings())
    best = io.read_npz(plain.outputs["patches"], "best")["best"]
    return SimpleNamespace(folder=plain.folder, dump=dump, best=best)


@pytest.fixture
def judge(run, tiny_dataset, tmp_path, monkeypatch):
    """Hold the run against an inference's dump; returns parity.json, with values by name."""

    def make(dump=None, *, drawn=False, best=run.best, test=None, **settings):
        for module in () if drawn else (comparing, dumping):
            monkeypatch.setattr(module, "draw_objects", lambda *a, **k: None)
            monkeypatch.setattr(module, "save_png", lambda *a: None)
        write_dump(tmp_path / "inference", dump or run.dump)
        io.write_npz(tmp_path / "patches.npz", {"best": best})
        report_parity(
            run=run.folder / "run.json", dataset=tiny_dataset.dataset,
            test=test or tiny_dataset.splits["test"], patches=tmp_path / "patches.npz",
            inference=tmp_path / "inference", folder=tmp_path / "parity",
            settings=ParitySettings(**settings).model_dump(mode="json"),
        )  # fmt: skip
        found = io.read_json(tmp_path / "parity/parity.json")
        values = {q["name"]: q["value"] for q in found["quantities"]}
        return SimpleNamespace(**found, values=values)

    return make


def test_training_and_inference_agree_to_rounding(judge, tmp_path):
    found, folder = judge(drawn=True), tmp_path / "parity"
    assert found.passed and found.failed == []
    seen = found.values
    assert seen["complex_mae"] < 1e-5 and abs(seen["stitched_rms"] - 1) < 1e-6
    pictured = {"parity.json", "parity.md", "parity.png", "training"}
    assert {p.name for p in folder.iterdir()} == pictured
    assert read_dump(folder / "training").patches_PHW.shape == (121, 16, 16)
    require_parity(folder / "parity.json", tmp_path / "passed.txt")
    assert "passed" in (tmp_path / "passed.txt").read_text()


def test_a_failed_parity_keeps_its_report_and_cannot_be_taken_for_passed(judge, run, tmp_path):
    """As of a run that diverged."""
    found = judge(best=run.best * np.nan)
    assert {"amplitude_ssim", "stitched_rms", "complex_var_zero_mean"} <= set(found.failed)
    assert (tmp_path / "parity/parity.md").read_text().startswith("# Parity FAILED in ")
    with pytest.raises(InputError, match=r"parity FAILED in .*stitched_rms.*parity\.md has the"):
        require_parity(tmp_path / "parity/parity.json", tmp_path / "passed.txt")
    assert not (tmp_path / "passed.txt").exists()


def test_each_fault_fails_by_its_name(judge, run, tiny_dataset, tmp_path):
    """An object that agrees to ten percent and not to rounding, and a bundle of another scale."""
    near = replace(run.dump, stitched_YX=1.01 * run.dump.stitched_YX)
    assert judge(near).failed == ["stitched_rms", "amplitude_mae", "complex_mae"]
    assert judge(near, tolerance=0.1).passed
    bundle = read_bundle(run.folder / "bundle")
    settings = bundle.settings.model_copy(update={"input_scale": 1.3})
    write_bundle(tmp_path / "bundle", replace(bundle, settings=settings))
    dump = infer_split(tmp_path / "bundle", tiny_dataset.splits["test"], InferSettings())
    assert {"input_scale", "complex_mae"} <= set(judge(dump).failed)


def test_the_first_image_is_held_against_the_first(judge, run, tiny_dataset, tmp_path):
    arrays, test = io.read_npz(tiny_dataset.splits["test"]), tmp_path / "two.npz"
    twice = {k: np.concatenate([v, v[::-1]]) if v.ndim else v for k, v in arrays.items()}
    twice |= {key: arrays[key] for key in ("probeGuess", "probe_simulated")}
    twice["image_index"] = np.repeat([0, 1], len(arrays["diffraction"])).astype(np.int32)
    io.write_npz(test, twice)
    dump = infer_split(run.folder / "bundle", test, InferSettings())
    assert judge(dump, best=np.concatenate([run.best, run.best[::-1]]), test=test).passed
