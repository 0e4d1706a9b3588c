"""Commands on files: what options reach, and one line for every mistake."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app, spelled
from ptycho_torch.cli.options import Flags
from ptycho_torch.cli.scan import CliOptions, dataset_name
from ptycho_torch.config.scan import FitSettings, InferSettings, RpieSettings, ScanConventions
from ptycho_torch.files import io
from ptycho_torch.infer.dump import read_dump
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


def test_train_and_infer_run_one_after_the_other(call, tiny_dataset, tmp_path):
    files = tiny_dataset.splits
    printed = call(
        "train", "--train-data", files["train"], "--test-data", files["test"],
        "--output-dir", tmp_path / "run", "--gridsize", 2, *SMALL,
        "--log-patch-stats", "--patch-stats-limit", 3,
    )  # fmt: skip
    assert "completed: best mae_val_loss" in printed
    printed = call(
        "infer", "--model", tmp_path / "run" / "bundle", "--test-data", files["test"],
        "--output-dir", tmp_path / "seen", "--accelerator", "cpu", "--threads", 1,
        "--log-patch-stats", "--debug-dump", tmp_path / "dump",
    )  # fmt: skip
    assert "from 121 frames, amplitude R factor" in printed
    assert (tmp_path / "seen" / "phase.png").stat().st_size > 1000
    for folder, limit in (("run", 3), ("seen", 16)):
        stats = io.read_json(tmp_path / folder / "patch_stats.json")
        assert len(stats["chosen"]) == limit
        assert (tmp_path / folder / "patches.png").exists()
    assert read_dump(tmp_path / "dump").patches_PHW.shape == (4 * 121, 16, 16)


OPTIONS = {
    "--gridsize": 2, "--neighbor-count": 9, "--validation-fraction": 0.2, "--photons": 1e6,
    "--loss": "poisson", "--learning-rate": 3e-4, "--clip": "agc", "--clip-value": 0.02,
    "--intensity-scale": "learned", "--seed": 5, "--generator": "stable_hybrid",
}  # fmt: skip
EXPECTED = {
    "groups": {"gridsize": 2, "n_images": 16, "neighbor_count": 9}, "gap_px": 6.0, "seed": 5,
    "validation_fraction": 0.2, "photons": 1e6, "training.loss": "poisson", "training.epochs": 1,
    "training.batch_size": 8, "training.optimizer.learning_rate": 3e-4,
    "training.intensity_scale": "learned", "training.object_big": False,
    "execution.clip.max_ratio": 0.02, "execution.deterministic": False, "execution.threads": 1,
    "execution.checkpointing": True, "generator.name": "stable_hybrid", "generator.width": 4,
    "generator.fno_blocks": 2, "generator.modes": 4,
}  # fmt: skip


def test_every_option_reaches_the_settings_that_are_written(call, tiny_dataset, tmp_path):
    words = [*SMALL, "--no-object-big", "--no-deterministic", "--checkpointing", "--fit", "bin"]
    words += ["--patch-px", 16, *(word for flag in OPTIONS.items() for word in flag)]
    data, out = tiny_dataset.splits["train"], tmp_path / "run"
    call("train", "--train-data", data, "--output-dir", out, *words)
    record = json.loads((out / "run.json").read_text())
    found = FitSettings.model_validate(record["settings"])
    found = found.model_dump()
    for key, value in EXPECTED.items():
        block = found
        for name in key.split("."):
            block = block[name]
        assert block == value, key
    reading = record["data"]["reading"]
    assert (reading["fit"], reading["patch_px"]) == ("bin", 16)


def test_an_arm_of_a_study_gives_what_options_do_not(root):
    options = CliOptions(config=root / "tests" / "tiny.yaml", arm="agc")
    found = options.settings({"name": "x", "groups": {}}, {"training": {"epochs": 7}})
    assert found.arm == "agc" and found.training.epochs == 7
    assert found.training.batch_size == 8 and found.generator.width == 4
    assert found.execution.clip.gradient_clip_algorithm == "agc"
    assert CliOptions().settings({"name": "scan", "groups": {}}, {}) == FitSettings(name="scan")


IMPOSSIBLE = [
    (["--arm", "agc"], "--config and --arm belong together"),
    (["--clip-value", 1], "name it by --clip"),
    (["--clip", "norm"], "--clip norm needs its bound"),
    (["--clip", "none", "--clip-value", 2], "gradient_clip_algorithm is 'none'; expected one of"),
    (["--gridsize", 3], "--gridsize: .* less than or equal to 2"),
    (["--epochs", 0], "--epochs: "),
    (["--learning-rate", -1], "--learning-rate: .* greater than 0"),
    (["--validation-fraction", 1.0], "validation-fraction: "),
    (["--neighbor-count", 5], "neighbor_count: 5 is of groups"),
    (["--no-object-big"], "are of groups: --gridsize 2"),
    (["--half-pixel", 3], "--half-pixel: "),
    (["--n-images", 5000], "5000 images are "),
    (["--accelerator", "mps"], "accelerator"),
    (["--width", 1], "--width"),
    (["--gap-px", 500], "leaves none to train on"),
    (["--batch-size", 17], "batch_size is 17"),
    (["--train-data", "empty.npz"], "empty.npz"),
    (["--train-data", "other.npz"], "other.npz"),
    (["--train-data", "nowhere.npz"], "nowhere.npz"),
]


def test_a_mistake_is_one_line_and_leaves_nothing_behind(call, tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.npz").write_bytes(b"")
    io.write_npz(tmp_path / "other.npz", {"a": np.zeros(3)})
    words = ["train", "--train-data", tiny_dataset.splits["train"], "--output-dir", "out", *SMALL]
    for more, message in IMPOSSIBLE:
        with pytest.raises(InputError, match=message) as error:
            call(*words, *more)
        assert "\n" not in str(error.value), message
        assert not (tmp_path / "out").exists(), message


def test_what_inference_cannot_do_is_refused_before_the_work(call, tiny_dataset, tmp_path):
    """No folder is made: the same command with its option put right need not overwrite."""
    data, out = tiny_dataset.splits["test"], tmp_path / "out"
    call("train", "--train-data", data, "--output-dir", tmp_path / "run", *SMALL)
    bundle = tmp_path / "run" / "bundle"
    (tmp_path / "file").write_text("")
    words = ["infer", "--model", bundle, "--test-data", data]
    words += ["--output-dir", out, "--accelerator", "cpu", "--threads", 1]
    for more, message in (
        (["--debug-dump", tmp_path / "file"], "file is no folder"),
        (["--debug-dump", bundle], "holds .*; give another folder"),
        (["--patch-stats-limit", 4], "--patch-stats-limit is of --log-patch-stats"),
        (["--log-patch-stats", "--patch-stats-limit", 0], "--patch-stats-limit: "),
        (["--neighbor-count", 5], "neighbor_count: 5 is of groups"),
        (["--image", 3, "--format", "npz"], "has the layout 'split', not 'npz'"),
        (["--translation-sign", -1], "--translation-sign -1 is of the layouts cxi"),
        (["--fit", "bin"], "--fit bin says how to cut to --patch-px"),
        (["--scan-index", 7], "--scan-index 7 is of the layouts npz, cxi"),
        (["--model", tmp_path / "nowhere"], "nowhere: is no folder"),
        *((["--scale", s], "expected auto, stored, measured, or") for s in ("x", "-3", "nan", "")),
    ):
        with pytest.raises(InputError, match=message):
            call(*words, *more)
        assert not out.exists(), message


@pytest.mark.parametrize("model", [ScanConventions, InferSettings, RpieSettings])
def test_every_setting_is_a_flag_with_its_text(model):
    flags = Flags(model)
    assert set(flags.settings()) == set(model.model_fields)
    for name in model.model_fields:
        option = flags.option(name).annotation.__metadata__[0]
        assert f"--{name.replace('_', '-')}" in str(vars(option))
        assert option.help == " ".join(model.model_fields[name].description.split())


def test_flags_that_are_not_given_leave_the_settings_as_they_are():
    flags = Flags(RpieSettings)
    given = {name: flags.option(name).default for name in flags.settings()}
    assert flags.read(given) == RpieSettings()
    given = dict.fromkeys(flags.settings())
    assert Flags(RpieSettings, defaults=RpieSettings()).read(given | {"alpha": 1.0}) == {"alpha": 1}


def test_a_name_is_made_of_any_file():
    assert dataset_name("siemens-star-small.npz.bz2") == "siemens-star-small"
    assert dataset_name("Ünter Lagen.npz") == "nter-Lagen"
    assert dataset_name(".npz") == "data"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("train --train_data_file a --output_dir=b", "train --train-data a --output-dir=b"),
        ("infer --model_path m --test_data_file t", "infer --model m --test-data t"),
        ("train --torch-loss-mode poisson --max_epochs 3", "train --loss poisson --max-epochs 3"),
        ("train --quiet --output_dir a_b", "--quiet train --output-dir a_b"),
        ("convert a_b --x=c_d -- --e_f", "convert a_b --x=c_d -- --e_f"),
    ],
)
def test_options_may_be_spelled_as_elsewhere_in_the_field(typed, read):
    assert spelled(typed.split()) == read.split()


def test_the_package_runs_as_a_module_and_quietly(tmp_path, tiny_dataset):
    words = ["train", "--train_data_file", str(tiny_dataset.splits["train"]), "--output_dir"]
    command = [sys.executable, "-m", "ptycho_torch", *words, str(tmp_path / "run"), *SMALL]
    more = ["--quiet", "--gradient_clip_val", "0.5", "--gradient_clip_algorithm", "value"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "completed: best mae_val_loss" in done.stdout
    clip = io.read_json(tmp_path / "run/run.json")["settings"]["execution"]["clip"]
    assert clip == {"gradient_clip_algorithm": "value", "max_value": 0.5}
