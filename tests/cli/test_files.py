"""The commands train and infer: what options reach, and one line for every mistake."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.config.resolve import Asked, dataset_name, infer_settings, resolve
from ptycho_torch.config.scan import FitSettings, InferSettings, ScanConventions
from ptycho_torch.files import io
from ptycho_torch.infer.parity.dump import read_dump
from ptycho_torch.runtime.errors import InputError

SMALL = [
    *("--width", "4", "--blocks", "2", "--modes", "4", "--max-epochs", "1", "--batch-size", "8"),
    *("--n-images", "16", "--gap-px", "6", "--accelerator", "cpu", "--threads", "1"),
]


@pytest.fixture
def call():
    """Run a command; return what it printed, or raise what it raised."""

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def trained(call, tiny_dataset, tmp_path):
    def run(*words, data=tiny_dataset.splits["train"], out=tmp_path / "run"):
        call("train", "--train-data", data, "--output-dir", out, *SMALL, *words)
        return json.loads((out / "run.json").read_text())

    return run


def test_train_and_infer_run_one_after_the_other(call, tiny_dataset, tmp_path):
    files = tiny_dataset.splits
    said = call(
        "train", "--train-data", files["train"], "--test-data", files["test"],
        "--output-dir", tmp_path / "run", "--gridsize", 2, *SMALL,
        "--log-patch-stats", "--patch-stats-limit", 3,
    )  # fmt: skip
    assert "completed: best mae_val_loss" in said
    said = call(
        "infer", "--model", tmp_path / "run" / "bundle", "--test-data", files["test"],
        "--output-dir", tmp_path / "seen", "--accelerator", "cpu", "--threads", 1,
        "--log-patch-stats", "--debug-dump", tmp_path / "dump",
    )  # fmt: skip
    assert "from 121 frames, amplitude R factor" in said
    assert (tmp_path / "seen" / "phase.png").stat().st_size > 1000
    for folder, limit in (("run", 3), ("seen", 16)):
        stats = io.read_json(tmp_path / folder / "patch_stats.json")
        assert len(stats["chosen"]) == limit
        assert (tmp_path / folder / "patches.png").exists()
    assert read_dump(tmp_path / "dump").patches_PHW.shape == (4 * 121, 16, 16)


def test_every_option_reaches_the_settings_that_are_written(trained):
    options = {
        "--gridsize": 2, "--neighbor-count": 9, "--validation-fraction": 0.2, "--photons": 1e6,
        "--loss": "poisson", "--learning-rate": 3e-4, "--clip": "agc", "--clip-value": 0.02,
        "--intensity-scale": "learned", "--seed": 5, "--generator": "stable_hybrid",
    }  # fmt: skip
    words = [w for option in options.items() for w in option]
    record = trained(
        *words, "--no-object-big", "--no-deterministic", "--checkpointing",
        *("--fit", "bin", "--patch-px", 16),
    )  # fmt: skip
    found = FitSettings.model_validate(record["settings"])
    assert found.groups.model_dump() == {"gridsize": 2, "n_images": 16, "neighbor_count": 9}
    assert (found.validation_fraction, found.gap_px, found.photons) == (0.2, 6.0, 1e6)
    assert (found.training.loss, found.training.epochs, found.training.batch_size) == (
        *("poisson", 1, 8),
    )
    assert found.training.optimizer.learning_rate == 3e-4
    assert found.execution.clip.model_dump()["max_ratio"] == 0.02
    assert found.training.intensity_scale == "learned" and not found.training.object_big
    assert (found.seed, found.execution.deterministic, found.execution.threads) == (5, False, 1)
    assert found.execution.checkpointing
    assert found.generator.model_dump(include={"name", "width", "fno_blocks", "modes"}) == {
        "name": "stable_hybrid", "width": 4, "fno_blocks": 2, "modes": 4,
    }  # fmt: skip
    reading = record["data"]["reading"]
    assert (reading["fit"], reading["patch_px"]) == ("bin", 16)


def test_an_arm_of_a_study_gives_what_options_do_not(root):
    asked = Asked(
        name="x.npz", config=root / "tests" / "tiny.yaml", arm="agc", training={"epochs": 7}
    )
    found = resolve(asked)
    assert found.arm == "agc" and found.training.epochs == 7
    assert found.training.batch_size == 8 and found.generator.width == 4
    assert found.execution.clip.gradient_clip_algorithm == "agc"


def test_without_a_study_the_classes_defaults_hold():
    assert resolve(Asked(name="scan.cxi")) == FitSettings(name="scan")
    assert infer_settings(scale="auto") == InferSettings()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"arm": "agc"}, "--config and --arm belong together"),
        ({"clip_value": 1.0}, "name it by --clip"),
        ({"clip": "norm"}, "--clip norm needs its bound"),
        ({"clip": "none", "clip_value": 2.0}, "NoClip has no key 'clip_value'"),
        ({"groups": {"gridsize": 3}}, "groups.gridsize: .* less than or equal to 2"),
        ({"training": {"epochs": 0}}, "training.epochs: "),
        ({"learning_rate": -1.0}, "learning_rate: "),
        ({"data": {"validation_fraction": 1.0}}, "validation_fraction: "),
        ({"groups": {"neighbor_count": 5}}, "neighbor_count: 5 is of groups"),
        ({"training": {"object_big": False}}, "are of groups: --gridsize 2"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(asked, said):
    with pytest.raises(InputError, match=said) as error:
        resolve(Asked(name="x", **asked))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "scale", ["sometimes", "-3", "0", "nan", "inf", "1e-300", "1e300", "1_0", "\u0661\u0662", ""]
)
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(InputError, match=f"--scale {scale}: expected auto, stored, measured, or"):
        infer_settings(scale=scale)


def test_every_key_of_reading_is_an_option(call):
    text = call("infer", "--help") + call("train", "--help")
    for name in set(ScanConventions.model_fields) - {"n_images"}:
        assert f"--{name.replace('_', '-')}"[:14] in text, name


def test_a_name_is_made_of_any_file():
    assert dataset_name("siemens-star-small.npz.bz2") == "siemens-star-small"
    assert dataset_name("Ünter Lagen.npz") == "nter-Lagen"
    assert dataset_name(".npz") == "data"


def test_mistakes_leave_nothing_behind(call, tiny_dataset, tmp_path):
    """A wrong file, reading or device: one line, and no folder."""
    out = tmp_path / "out"
    good = tiny_dataset.splits["train"]
    (tmp_path / "empty.npz").write_bytes(b"")
    io.write_npz(tmp_path / "other.npz", {"a": np.zeros(3)})
    cases = [
        (tmp_path / "empty.npz", [], "empty.npz"),
        (tmp_path / "other.npz", [], "other.npz"),
        (tmp_path / "nowhere.npz", [], "nowhere.npz"),
        (tmp_path, [], str(tmp_path)),
        (good, ["--half-pixel", "3"], "half-pixel"),
        (good, ["--n-images", "5000"], "5000 images are asked for"),
        (good, ["--accelerator", "mps"], "accelerator"),
        (good, ["--width", "1"], "generator.width"),
        (good, ["--gap-px", "500"], "leaves none to train on"),
        (good, ["--batch-size", "17"], "batch_size is 17"),
    ]
    for data, words, said in cases:
        with pytest.raises(InputError, match=said.replace("\\", ".")) as error:
            call("train", "--train-data", data, "--output-dir", out, *SMALL, *words)
        assert "\n" not in str(error.value), said
        assert not out.exists(), said
    with pytest.raises(InputError, match=r"nowhere: is no folder"):
        call("infer", "--model", tmp_path / "nowhere", "--test-data", good, "--output-dir", out)
    assert not out.exists()


def test_what_cannot_be_done_is_said_before_the_work(call, trained, tiny_dataset, tmp_path):
    """No folder is made: the same command with its option put right need not overwrite."""
    trained()
    bundle, out = tmp_path / "run" / "bundle", tmp_path / "out"
    (tmp_path / "file").write_text("")
    words = ["infer", "--model", bundle, "--test-data", tiny_dataset.splits["test"]]
    words += ["--output-dir", out, "--accelerator", "cpu", "--threads", 1]
    for more, said in (
        (["--debug-dump", tmp_path / "file"], "file: is no folder"),
        (["--debug-dump", bundle], "holds .*; give another folder"),
        (["--patch-stats-limit", 4], "--patch-stats-limit is of --log-patch-stats"),
        (["--neighbor-count", 5], "neighbor_count: 5 is of groups"),
        (["--image", 3, "--format", "npz"], "has the layout 'split', not 'npz'"),
        (["--translation-sign", -1], "--translation-sign -1 is of the layouts cxi"),
        (["--fit", "bin"], "--fit bin says how to cut to --patch-px"),
        (["--scan-index", 7], "--scan-index 7 is of the layouts npz, cxi"),
    ):
        with pytest.raises(InputError, match=said):
            call(*words, *more)
        assert not out.exists(), said
    with pytest.raises(AssertionError, match="Invalid value for"):
        call(*words, "--log-patch-stats", "--patch-stats-limit", 0)
    assert not out.exists()
