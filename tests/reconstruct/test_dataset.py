"""rPIE beside the networks: of a test split, scored by the very evaluation of the runs, and of a file,
by the command."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from tests.commands import refused, run
from tests.reconstruct.compare import apart
from tests.scans import a_scan, canonical

from ptycho_torch.config.scan import ConventionalSettings, RpieSettings
from ptycho_torch.files import io
from ptycho_torch.reconstruct.run import reconstruct_scan, reconstruct_test_split
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset

OUTPUTS = {"run": "run.json", "patches": "test_patches.npz", "objects": "objects.npz"}
SCORES = {"metrics": "metrics.json", "progress": "progress.json", "reconstruction": "images.npz"}


def scored(run_script, dataset, tmp_path, **settings):
    """Run both rules' scripts; return run.json, metrics.json and progress.json."""
    chosen = ConventionalSettings(**{"iterations": 40, "snapshots": [1, 5, 99], **settings})
    data = {"test": dataset.splits["test"], "dataset": dataset.dataset}
    params = {"settings": chosen.model_dump(mode="json")}
    run_script("reconstruct.py", input=data, output=OUTPUTS, params=params)
    made = {name: tmp_path / file for name, file in OUTPUTS.items()}
    run_script(
        "evaluate_conventional.py", input={**data, **made}, output=SCORES, params={"settings": {}}
    )
    return [io.read_json(tmp_path / f"{name}.json") for name in ("run", "metrics", "progress")]


def test_rpie_is_scored_as_a_run_is(run_script, tiny_dataset, tmp_path):
    run, metrics, progress = scored(run_script, tiny_dataset, tmp_path)
    best = metrics["best"]
    assert metrics["outcome"] == "completed"
    assert best["amplitude_ssim"] > 0.99 > metrics["constant"]["amplitude_ssim"]
    # In units of norm_Y_I, as a network predicts: the factor to the truth is 1.
    assert best["amplitude_factor"] == pytest.approx(1, abs=0.01)
    assert run["best_val_loss"] is run["last_val_loss"] is run["best_mae_val_loss"] is None
    assert 0 < run["r_factor"] < run["error"][0] / 10
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
    settings, data = ConventionalSettings(iterations=1), tiny_dataset
    with pytest.raises(InputError, match="SHA-256"):
        reconstruct_test_split(
            settings, test=data.splits["train"], dataset=data.dataset, outputs=outputs
        )
    assert not any(path.exists() for path in outputs.values())


KNOWN = RpieSettings(iterations=30, refine_probe=False)


@pytest.fixture(scope="module")
def made():
    return a_scan(step=2, frames=(8, 8), jitter=1.0)


def test_object_picture_and_report_are_written(made, tmp_path):
    """And of a masked pixel nothing counts, in no R factor."""
    good = np.ones((1, 16, 16), bool)
    good[0, 5, 5] = False
    scan = replace(made, amplitude_nHW=np.where(good, made.amplitude_nHW, np.nan), good_1HW=good)
    report = reconstruct_scan(scan, KNOWN, folder=tmp_path)
    names = {"object.npz", "reconstruction.png", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert io.read_json(tmp_path / "report.json") == report
    assert (report["frames"], report["batch_size"]) == (64, 8)
    assert 0 < report["r_factor"] < 0.05
    with np.load(tmp_path / "object.npz") as file:
        found, light = ((file[key], file["origin"]) for key in ("object", "light"))
        assert apart(found, made, light) < 0.05
        assert file["error"].tolist() == report["error"]
    picture = imread(tmp_path / "reconstruction.png")
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.05


@pytest.fixture
def words(made, tmp_path):
    """The command on a file of the scan."""
    np.savez(tmp_path / "scan.npz", **canonical(made, objectGuess=None))
    return ("reconstruct", tmp_path / "scan.npz", "--output-dir", tmp_path / "out")


def test_the_command_says_how_it_goes_and_what_it_wrote(words, tmp_path):
    status, out, err = run(*words, "--iterations", 20, "--batch-size", 4)
    assert status == 0
    assert "iteration 1 of 20: R factor" in err and "iteration 20 of 20" in err
    assert "64 frames, 4 at once, 20 iterations" in out
    report = io.read_json(tmp_path / "out/report.json")
    assert (
        report["source"] == "scan.npz"
        and report["settings"]["batch_size"] == 4
        and report["r_factor"] < 0.1
    )
    assert report["doubt"] is None and "not converging" not in out


def test_a_reconstruction_that_does_not_converge_says_what_to_run(words):
    _, out, _ = run(*words, "--iterations", 20, "--swap-axes")
    assert re.search(r"not converging: the R factor stays at 0\.\d+; run `ptycho-torch check`", out)


def test_mistakes_are_one_line_and_leave_nothing(words, tmp_path):
    said = refused(*words, "--alpha", 2)
    assert "--alpha: Input should be less than or equal to 1, got 2" in said
    said = refused(*words, "--known-probe", "--probe-from-iteration", 2)
    assert "--probe-from-iteration: has no effect on a known probe" in said
    assert not (tmp_path / "out").exists()
