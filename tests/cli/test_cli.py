"""Commands on files: what options reach, and one line for every mistake; `check-config`: what is
done, what is to run, and why a study will not answer."""

import json
import re
import subprocess
import sys
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path

import pytest
import yaml
from tests.commands import call, refused

from ptycho_torch.cli.options import Flags
from ptycho_torch.cli.scan import CliOptions
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import load_yaml, read_study
from ptycho_torch.config.scan import FitSettings, InferSettings, RpieSettings, ScanConventions
from ptycho_torch.config.study import run_settings
from ptycho_torch.files import io
from ptycho_torch.infer.dump import read_dump

SMALL = [
    *("--width", "4", "--blocks", "2", "--modes", "4", "--max-epochs", "1", "--batch-size", "8"),
    *("--n-images", "16", "--gap-px", "6", "--accelerator", "cpu", "--threads", "1"),
]


@pytest.fixture(scope="module")
def run(tiny_dataset, tmp_path_factory):
    """A folder of groups of four that were trained for an epoch."""
    files, folder = tiny_dataset.splits, tmp_path_factory.mktemp("trained") / "run"
    printed = call(
        "train", "--train-data", files["train"], "--test-data", files["test"],
        "--output-dir", folder, "--gridsize", 2, *SMALL,
        "--log-patch-stats", "--patch-stats-limit", 3,
    )  # fmt: skip
    assert "completed: best mae_val_loss" in printed
    factors = re.findall(r"object (0\.\d+); by rPIE's (0\.\d+) \(30 iterations", printed)
    # An epoch teaches such a network nothing; rPIE needs no training.
    assert len(factors) == 1 and float(factors[0][1]) < 0.1 < float(factors[0][0])
    pictures = printed.splitlines()[-1].removeprefix("pictures: ").split(", ")
    assert pictures == [str(folder / name) for name in ("objects.png", "patches.png")]
    assert all(Path(name).stat().st_size > 1000 for name in pictures)
    return folder


def test_train_and_infer_run_one_after_the_other(run, tiny_dataset, tmp_path):
    """And publish no names of the folders that they read."""
    printed = call(
        "infer", "--model", run / "bundle", "--test-data", tiny_dataset.splits["test"],
        "--output-dir", tmp_path / "seen", "--accelerator", "cpu", "--threads", 1,
        "--log-patch-stats", "--debug-dump", tmp_path / "dump",
    )  # fmt: skip
    assert "from 121 frames, amplitude R factor" in printed
    assert (tmp_path / "seen" / "object.png").stat().st_size > 1000
    for folder, limit in ((run, 3), (tmp_path / "seen", 16)):
        assert len(io.read_json(folder / "patch_stats.json")["chosen"]) == limit
        assert (folder / "patches.png").exists()
    assert read_dump(tmp_path / "dump").patches_PHW.shape == (4 * 121, 16, 16)
    private = [str(folder).encode() for folder in (run.parent, tiny_dataset.folder, tmp_path)]
    for path in filter(Path.is_file, [*run.rglob("*"), *tmp_path.rglob("*")]):
        assert not any(name in path.read_bytes() for name in private), path


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--debug-dump", "a file"], "a file is no folder"),
        (["--log-patch-stats", "--patch-stats-limit", 0], "--patch-stats-limit: "),
        (["--scan-index", 7], "has no image 7; its groups show images [0]"),
        (["--model", "nowhere"], "nowhere/bundle.json: cannot be read"),
        (["--scale", "nan"], "--scale: Input should be 'auto', 'stored' or 'measured', got"),
    ],
)
def test_inference_is_refused_before_its_work(
    run, tiny_dataset, monkeypatch, tmp_path, more, message
):
    """No folder is made: the same command with its option put right need not overwrite."""
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("")
    words = ["--test-data", tiny_dataset.splits["test"], "--output-dir", "out"]
    line = refused("infer", "--model", run / "bundle", *words, "--accelerator", "cpu", *more)
    assert message in line
    assert not Path("out").exists()


OPTIONS = {
    "--gridsize": 2, "--neighbor-count": 9, "--validation-fraction": 0.2, "--photons": 1e6,
    "--loss": "poisson", "--learning-rate": 3e-4, "--clip": "agc", "--clip-value": 0.02,
    "--seed": 5, "--generator": "stable_hybrid",
}  # fmt: skip
EXPECTED = {
    "groups": {"gridsize": 2, "n_images": 16, "neighbor_count": 9}, "gap_px": 6.0, "seed": 5,
    "validation_fraction": 0.2, "photons": 1e6, "training.loss": "poisson", "training.epochs": 1,
    "training.optimizer.learning_rate": 3e-4, "training.object_big": False,
    "execution.clip.max_ratio": 0.02, "execution.deterministic": False,
    "execution.checkpointing": True, "generator.name": "stable_hybrid", "generator.fno_blocks": 2,
}  # fmt: skip


def test_every_option_reaches_the_settings_that_are_written(tiny_dataset, tmp_path):
    words = [*SMALL, "--no-object-big", "--no-deterministic", "--checkpointing"]
    words += ["--patch-px", 16, *(word for flag in OPTIONS.items() for word in flag)]
    data, out = tiny_dataset.splits["train"], tmp_path / "run"
    call("train", "--train-data", data, "--output-dir", out, *words)
    record = io.read_json(out / "run.json")
    found = FitSettings.model_validate(record["settings"]).model_dump()
    assert {key: reduce(getitem, key.split("."), found) for key in EXPECTED} == EXPECTED
    assert record["data"]["reading"]["patch_px"] == 16


def test_an_arm_of_a_study_gives_what_options_do_not(root):
    options = CliOptions(config=root / "tests" / "tiny.yaml", arm="agc")
    found = options.settings({"training": {"epochs": 7}})
    assert found.arm == "agc" and found.training.epochs == 7
    assert found.training.batch_size == 8 and found.generator.width == 4
    assert found.execution.clip.gradient_clip_algorithm == "agc"
    assert CliOptions().settings({}) == CliOptions(preset="full").settings({}) == FitSettings()
    quick = CliOptions(preset="quick").settings({"training": {"epochs": 3}})
    assert (quick.generator.name, quick.generator.width) == ("stable_hybrid", 8)
    assert (quick.training.epochs, quick.training.optimizer.learning_rate) == (3, 8e-3)


IMPOSSIBLE = [
    (["--arm", "agc"], "--config and --arm belong together"),
    (["--config", "tiny.yaml", "--arm", "acg"], "no arm 'acg'; did you mean 'agc'"),
    (["--clip", "norm"], "--clip and --clip-value belong together"),
    (["--clip", "none", "--clip-value", 2], "--clip and --clip-value belong together"),
    (["--loss", "mse"], "--loss: Input should be 'mae' or 'poisson', got 'mse'"),
    (["--gridsize", 3], "--gridsize: .* less than or equal to 2"),
    (["--learning-rate", -1], "--learning-rate: .* greater than 0"),
    (["--validation-fraction", 1.0], "validation-fraction: "),
    (["--n-images", 5000], "5000 images are "),
    (["--gap-px", 500], "leaves none to train on"),
    (["--batch-size", 17], "batch_size is 17"),
]


def test_a_mistake_is_one_line_and_leaves_nothing_behind(tiny_dataset, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_bytes((root / "tests/tiny.yaml").read_bytes())
    (tmp_path / "empty.npz").write_bytes(b"")
    words = ["train", "--train-data", tiny_dataset.splits["train"], "--output-dir", "out", *SMALL]
    for more, message in IMPOSSIBLE:
        assert re.search(message, refused(*words, *more))
        assert not (tmp_path / "out").exists(), message
    assert "empty.npz: is not an NPZ" in refused(
        "train", "empty.npz", "--output-dir", "out", *SMALL
    )


@pytest.mark.parametrize("model", [ScanConventions, InferSettings, RpieSettings])
def test_every_setting_is_a_flag_with_its_text(model):
    """One that is not given leaves the setting as it is."""
    flags = Flags(model)
    assert set(flags.settings()) == set(model.model_fields)
    given = {name: flags.option(name).default for name in flags.settings()}
    assert flags.read(given) == model()
    for name in model.model_fields:
        option = flags.option(name).annotation.__metadata__[0]
        assert f"--{name.replace('_', '-')}" in str(vars(option))
        assert option.help == " ".join(model.model_fields[name].description.split())


def test_the_package_runs_as_a_module_and_quietly(tmp_path, tiny_dataset):
    words = ["train", "--train_data_file", str(tiny_dataset.splits["train"]), "--output_dir"]
    command = [sys.executable, "-m", "ptycho_torch", *words, str(tmp_path / "run"), *SMALL]
    more = ["--quiet", "--gradient_clip_val", "0.5", "--gradient_clip_algorithm", "value"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "completed: best mae_val_loss" in done.stdout
    clip = io.read_json(tmp_path / "run/run.json")["settings"]["execution"]["clip"]
    assert clip == {"gradient_clip_algorithm": "value", "max_value": 0.5}


def test_a_simulated_scan_is_that_of_its_settings(tmp_path):
    more = ("--patch-px", 16, "--size-px", 40, "--photons", 1e6, "--test-seed", 9)
    call("simulate", "--output-dir", tmp_path / "scan", *more)
    facts = io.read_json(tmp_path / "scan/dataset.json")
    settings = facts["settings"]
    assert (settings["patch_px"], settings["photons"]) == (16, 1e6)
    assert settings["object"]["size_px"] == 40
    assert settings["seeds"] == {"train": 1, "test": 9, "validation": 3, "noise": 0}
    assert facts["splits"]["test"]["sha256"] == io.sha256(tmp_path / "scan/test.npz")
    other = refused("simulate", "--output-dir", tmp_path / "other", "--size-px", 20)
    assert "object.size_px of 20 px has -12 px" in other and not (tmp_path / "other").exists()


@pytest.fixture
def check(root, tmp_path, monkeypatch):
    """Check the tiny study with changes, beside finished runs of two of its stages."""
    monkeypatch.chdir(tmp_path)

    def run(seeds, records, **changes):
        study = load_yaml(root / "tests" / "tiny.yaml") | changes
        study["stage_a"]["seeds"] = study["stress"]["seeds"] = seeds
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
        parsed = read_study("study.yaml")
        for stage, record in records.items():
            plan = stage_plan(parsed, stage)
            for arm, seed in product(plan.arms, plan.seed_list):
                folder = tmp_path / "results/train" / plan.dataset / arm / f"seed-{seed}"
                folder.mkdir(parents=True, exist_ok=True)
                settings = run_settings(parsed, plan.dataset, arm, seed).model_dump(mode="json")
                (folder / "run.json").write_text(json.dumps(record | {"settings": settings}))
        return call("check-config", "study.yaml").replace("\n", " ")

    return run


GOOD = {"outcome": "completed", "gradient_norm": {"max": 3.0}}


def test_runs_with_the_study_s_settings_are_done(check):
    assert "2 runs on dataset 'tiny', 2 of them new, 0 done" in check(1, {})
    assert "2 runs on dataset 'tiny', 2 of them new, 2 done" in check(1, {"stage_a": GOOD})
    assert "4 runs on dataset 'tiny', 4 of them new, 2 done" in check(2, {})
    other = load_yaml("study.yaml")["training"] | {"epochs": 3}
    assert "4 runs on dataset 'tiny', 4 of them new, 0 done" in check(2, {}, training=other)


@pytest.mark.parametrize(("seeds", "warned"), [(4, True), (5, False)])
def test_too_few_seeds_for_the_level_are_said(check, seeds, warned):
    """Of five against five, 2 of 252 divisions are as extreme as can be: 0.0079 < 0.02; of four 0.029."""
    found = check(seeds, {})
    assert ("stage_a cannot decide: the least p that 4 seeds can give" in found) == warned
    assert not warned or "is 0.029, above the level of 0.02; 5 seeds are enough" in found


def test_a_grid_at_which_nothing_fails_is_said(check):
    assert "stress: no run fails at any of its rates" in check(1, {"stress": GOOD})
    assert "no run fails" not in check(1, {"stress": GOOD | {"outcome": "exploded"}})


def test_a_bound_beyond_every_gradient_is_said(check):
    """Those of the norms that no gradient of a finished run comes near."""
    clip = {"gradient_clip_algorithm": "norm", "max_norm": 1}
    execution = {"accelerator": "cpu", "threads": 1, "clip": clip}
    sweeps = {"norms": {"arm": "control", "sweep": {"clip.max_norm": [1, 2.5, 10]}}}
    assert "clip nothing" not in check(1, {}, execution=execution, sweeps=sweeps)
    found = check(1, {"norms": GOOD}, execution=execution, sweeps=sweeps)
    said = "norms: max_norm 10 clip nothing; of 3 runs that are done the largest gradient norm is 3"
    assert said in found
