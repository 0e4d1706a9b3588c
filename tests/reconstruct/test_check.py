"""A file under a planted convention is read right with the flags found, ties are not decided; rPIE
of a test split, scored by the very evaluation of the runs, and of a file."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from tests.commands import call, refused, run
from tests.samples import a_probe, a_scan, apart, canonical, patterns, write_cxi

from ptycho_torch.config.scan import ConventionalSettings, RpieSettings, ScanConventions
from ptycho_torch.data.read import read_scan
from ptycho_torch.files import io
from ptycho_torch.reconstruct.check import check_file, twin_similarity
from ptycho_torch.reconstruct.run import reconstruct_scan, reconstruct_test_split
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset


@pytest.fixture(scope="module")
def known():
    """A scan of a known object, with photon noise."""
    return a_scan(counts=1e5, frames=(13, 15), step=1.9)


@pytest.fixture(autouse=True)
def frames(monkeypatch):
    """36 are reconstructed: enough for this small scan."""
    monkeypatch.setattr("ptycho_torch.reconstruct.check.RECONSTRUCTED_FRAMES", 36)


def mirrored(scan, axis):
    """The coordinate of windows in a mirrored object: as flipping it again undoes."""
    return (scan.object_YX.shape[axis] - 16) - scan.positions_n2[:, axis] + 8


def at(scan, rows, columns):
    """Positions in a file, from corners."""
    return {"ycoords": scan.positions_n2[:, 0] + rows, "xcoords": scan.positions_n2[:, 1] + columns}


PLANTED = {
    "none": lambda s: {},
    "corner": lambda s: at(s, 0, 0),
    "x and y swapped": lambda s: {
        "xcoords": s.positions_n2[:, 0] + 8,
        "ycoords": s.positions_n2[:, 1] + 8,
    },
    "rows mirrored": lambda s: {"ycoords": mirrored(s, 0)},
    "both mirrored": lambda s: {"ycoords": mirrored(s, 0), "xcoords": mirrored(s, 1)},
    "half a pixel": lambda s: at(s, 7.5, 7.5),
    "from the middle": lambda s: at(s, -13, -15),
    "zero frequency in the corner": lambda s: {
        "diffraction": np.fft.ifftshift(s.amplitude_nHW, axes=(1, 2))
    },
    "intensities": lambda s: {"diffraction": s.amplitude_nHW**2},
}


def check(folder, parts, **given):
    """Return the report, and the scan as it says."""
    path = folder / "scan.npz"
    np.savez(path, **parts)
    report = check_file(path, ScanConventions(**given))
    return report, lambda: read_scan(path, ScanConventions(**report["reading"]))


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_convention_is_found(tmp_path, known, planted):
    report, read = check(tmp_path, canonical(known, **PLANTED[planted](known)))
    assert report["decided"]
    np.testing.assert_allclose(read().positions_n2, known.positions_n2, atol=1e-9)
    np.testing.assert_allclose(read().amplitude_nHW, known.amplitude_nHW, rtol=1e-5, atol=1e-6)


def test_what_is_given_is_not_tried(tmp_path, known):
    parts = canonical(known, **PLANTED["rows mirrored"](known))
    report, _ = check(tmp_path, parts, origin="middle", flip_rows=True)
    tried = [one["flags"] for stage in report["stages"] for one in stage["readings"]]
    assert tried and all("--origin middle" in flags and "--flip-rows" in flags for flags in tried)


@pytest.mark.parametrize("planted", ["rows mirrored", "x and y swapped"])
def test_without_an_object_a_reconstruction_decides(tmp_path, known, planted):
    parts = canonical(known, **PLANTED[planted](known), objectGuess=None)
    report, read = check(tmp_path, parts, values="amplitude")
    assert report["decided"]
    apart = read().positions_n2 - known.positions_n2
    np.testing.assert_allclose(apart, np.broadcast_to(apart[0], apart.shape), atol=1e-9)


def test_positions_that_explain_nothing_are_no_reading_whatever_ties(tmp_path, known):
    """Each reading of them errs as shuffled ones do, far above the noise; all that tie are named."""
    places = np.random.default_rng(3).permutation(known.positions_n2 + 8)
    parts = canonical(known, objectGuess=None, ycoords=places[:, 0], xcoords=places[:, 1])
    report, _ = check(tmp_path, parts, values="amplitude")
    assert not report["decided"]
    explained = r"no conventions explain the frames: the best errs by 0\.\d+, shuffled .* by 0\.\d+"
    assert re.search(explained, report["doubt"])
    assert "in their order, and is it a far field" in report["doubt"]


def test_an_object_that_predicts_nothing_is_left_aside(tmp_path, known):
    parts = canonical(known, objectGuess=np.ones_like(known.object_YX))
    report, _ = check(tmp_path, parts, values="amplitude")
    assert [s["answer"] for s in report["stages"] if s["question"] == "object"]
    assert report["decided"]
    assert not {"swap_axes", "flip_rows", "flip_columns"} & set(report["reading"])


def test_where_the_twin_cannot_be_ruled_out_the_sign_stays_open(tmp_path, known):
    """Without a probe, and under a probe that is its own twin."""
    y, x = np.mgrid[:16, :16] - 8
    disk = np.exp(-(((y**2 + x**2) / 12.0) ** 2))[None].astype(np.complex64)
    assert twin_similarity(disk) > 0.99 and twin_similarity(a_probe()) < 0.9
    frames = np.sqrt(patterns(disk, known.object_YX, known.positions_n2))
    for change in ({"probeGuess": None}, {"diffraction": frames, "probeGuess": disk[0]}):
        parts = canonical(known, **change, objectGuess=None)
        report, _ = check(tmp_path, parts, values="amplitude")
        assert "the turned, conjugated object fits as well" in report["doubt"]


def test_the_command_says_which_flags_and_fails_on_doubt(tmp_path, known):
    path = tmp_path / "scan.npz"
    np.savez(path, **canonical(known, **PLANTED["corner"](known)))
    said = call("check", path)
    assert "read it with: " in said and "--origin corner" in said
    found = json.loads(call("check", path, "--json"))
    assert found["decided"] and found["reading"]["origin"] == "corner"
    # The sign of a translation is told by probe and object.
    write_cxi(tmp_path / "scan.cxi", known)
    found = json.loads(call("check", tmp_path / "scan.cxi", "--json"))
    assert found["decided"] and "flip_rows" not in found["reading"]
    same = np.repeat(known.amplitude_nHW[:1], len(known), axis=0)
    np.savez(path, **canonical(known, diffraction=same))
    status, said, err = run("check", path, "--json", "--values", "amplitude")
    assert status == 1 and ("cannot be told apart" in err or "no conventions" in err)
    assert not json.loads(said)["decided"]


OUTPUTS = {"run": "run.json", "patches": "test_patches.npz", "objects": "objects.npz"}
SCORES = {"metrics": "metrics.json", "progress": "progress.json", "reconstruction": "images.npz"}


def scored(run_script, dataset, tmp_path, **settings):
    """Run both rules' scripts; return run.json, metrics.json and progress.json."""
    chosen = ConventionalSettings(**{"iterations": 40, "snapshots": [1, 5, 99], **settings})
    data = {"test": dataset.splits["test"], "dataset": dataset.dataset}
    params = {"settings": chosen.model_dump(mode="json")}
    run_script("reconstruct.py", input=data, output=OUTPUTS, params=params)
    data |= {name: tmp_path / file for name, file in OUTPUTS.items()}
    job = {"input": data, "output": SCORES, "params": {"settings": {}}}
    run_script("evaluate_conventional.py", **job)
    return [io.read_json(tmp_path / f"{name}.json") for name in ("run", "metrics", "progress")]


def test_rpie_is_scored_as_a_run_is(run_script, tiny_dataset, tmp_path):
    run, metrics, progress = scored(run_script, tiny_dataset, tmp_path)
    best = metrics["best"]
    assert metrics["outcome"] == "completed"
    assert best["amplitude_ssim"] > 0.99 > metrics["constant"]["amplitude_ssim"]
    # In units of norm_Y_I, as a network predicts: the factor to the truth is 1.
    assert best["amplitude_factor"] == pytest.approx(1, abs=0.01)
    assert run["best_val_loss"] is run["last_val_loss"] is run["best_mae_val_loss"] is None
    assert 0 < run["error"][-1] < run["error"][0] / 10
    assert [row["iteration"] for row in progress["scored"]] == [1, 5, 40]
    last = progress["scored"][-1]
    for name in ("amplitude_ssim", "complex_error", "phase_ssim"):
        assert last[name] == pytest.approx(best[name], rel=1e-6)
    errors = [row["complex_error"] for row in progress["scored"]]
    assert errors == sorted(errors, reverse=True)
    assert last["seconds"] == pytest.approx(sum(run["seconds"]), abs=1e-4)


def test_images_and_channels_of_groups_are_all_used(run_script, tiny_study, tmp_path):
    """Two images, groups of four: each object is made of its own frames, of every channel."""
    settings = tiny_study.datasets["tiny"].model_copy(update={"images_per_split": 2})
    scan = settings.scan.model_copy(update={"gridsize": 2, "group_offset_px": 2, "test_step_px": 5})
    settings = settings.model_copy(update={"scan": scan})
    splits = {split: tmp_path / f"{split}.npz" for split in SPLITS}
    simulate_dataset(settings, name="tiny", splits=splits, summary=tmp_path / "dataset.json")
    dataset = SimpleNamespace(splits=splits, dataset=tmp_path / "dataset.json")
    _, metrics, _ = scored(run_script, dataset, tmp_path, iterations=25)
    assert metrics["best"]["amplitude_ssim"] > 0.99
    test, made = io.read_npz(splits["test"]), io.read_npz(tmp_path / "test_patches.npz")
    true, found = test["Y_I"], np.abs(made["best"]) * np.abs(test["probeGuess"])[..., None]
    assert found.shape == true.shape
    for channel in range(4):
        assert np.abs(found - true)[..., channel].mean() < 0.02 * true.mean()
    objects = {f"object_{image}_iteration_25" for image in (0, 1)}
    assert objects <= set(io.npz_keys(tmp_path / "objects.npz"))


def test_a_foreign_test_split_is_refused(tiny_dataset, tmp_path):
    outputs = {name: tmp_path / file for name, file in OUTPUTS.items()}
    data = {"test": tiny_dataset.splits["train"], "dataset": tiny_dataset.dataset}
    with pytest.raises(InputError, match="SHA-256"):
        reconstruct_test_split(ConventionalSettings(iterations=1), **data, outputs=outputs)
    assert not any(path.exists() for path in outputs.values())


@pytest.fixture(scope="module")
def made():
    return a_scan(step=2, frames=(8, 8), jitter=1.0)


def test_object_picture_and_report_are_written(made, tmp_path):
    """And of a masked pixel nothing counts, in no R factor."""
    good = np.ones((1, 16, 16), bool)
    good[0, 5, 5] = False
    scan = replace(made, amplitude_nHW=np.where(good, made.amplitude_nHW, np.nan), good_1HW=good)
    known = RpieSettings(iterations=30, refine_probe=False)
    report = reconstruct_scan(scan, known, folder=tmp_path)
    names = {"object.npz", "reconstruction.png", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert io.read_json(tmp_path / "report.json") == report
    assert (report["frames"], report["batch_size"]) == (64, 8)
    assert 0 < report["r_factor"] < 0.05
    with np.load(tmp_path / "object.npz") as file:
        found, light = ((file[key], file["origin"]) for key in ("object", "light"))
        assert apart(found, made, light) < 0.05
        assert file["error"].tolist() == report["error"]
    assert imread(tmp_path / "reconstruction.png")[..., :3].std() > 0.05


@pytest.fixture
def words(made, tmp_path):
    """The command on a file of the scan."""
    np.savez(tmp_path / "scan.npz", **canonical(made, objectGuess=None))
    return ("reconstruct", tmp_path / "scan.npz", "--output-dir", tmp_path / "out")


def test_the_command_says_how_it_goes_and_what_it_wrote(words, tmp_path):
    status, out, err = run(*words, "--iterations", 41, "--batch-size", 4)
    assert status == 0
    shown = [int(number) for number in re.findall(r"iteration (\d+) of 41: R factor", err)]
    assert shown == [*range(3, 41, 3), 41]
    assert "64 frames, 4 at once, 41 iterations" in out
    report = io.read_json(tmp_path / "out/report.json")
    assert (report["source"], report["settings"]["batch_size"]) == ("scan.npz", 4)
    assert report["r_factor"] < 0.1 and report["doubt"] is None and "not converging" not in out
    # One that does not converge says what to run.
    out = call(*words, "--iterations", 20, "--swap-axes", "--overwrite")
    assert re.search(r"not converging: the R factor stays at 0\.\d+; run `ptycho-torch check`", out)


def test_mistakes_are_one_line_and_leave_nothing(words, tmp_path):
    said = refused(*words, "--alpha", 2)
    assert "--alpha: Input should be less than or equal to 1, got 2" in said
    assert not (tmp_path / "out").exists()
