"""The smallest study from nothing to its summary, and what reruns after which change."""

import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


class Study:
    """A folder with a study's configuration and results."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())

    def call(self, *words):
        config = self.folder / "study.yaml"
        config.write_text(yaml.safe_dump(self.settings))
        return subprocess.run(
            [str(BIN / "snakemake"), *words, "--configfile", str(config), "--directory",
             str(self.folder), "--cores", "4", "--resources", "gpu=1", "stage_a_summary"],
            cwd=ROOT, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    def planned(self):
        result = self.call("-n")
        assert result.returncode == 0, result.stdout + result.stderr
        found = re.findall(
            r"^((?:simulate|train|evaluate|stage_a_summary)\b.*?) {2,}(?![\d ]+$)",
            result.stdout + result.stderr,
            re.M,
        )
        return sorted(
            f"{rule} {rest}".strip()
            for rules, _, rest in (line.replace(", ", ",").partition(" ") for line in found)
            for rule in rules.split(",")
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("study"))
    result = study.call()
    assert result.returncode == 0, result.stdout + result.stderr
    study.output = result.stdout + result.stderr
    return study


def test_the_summary_and_every_promised_file_are_there(finished):
    results = finished.folder / "results"
    for arm in ("control", "agc"):
        run = results / f"train/tiny/{arm}/seed-0"
        assert {p.name for p in run.iterdir()} == {
            "run.json", "timing.json", "history.csv", "bundle", "last.safetensors", "test_patches.npz",
        }  # fmt: skip
        assert {p.name for p in (run / "bundle").iterdir()} == {
            "bundle.json",
            "weights.safetensors",
        }
        assert (results / f"evaluate/tiny/{arm}/seed-0/metrics.json").exists()
    summary = (results / "stage_a/summary.md").read_text()
    for figure in re.findall(r"\]\((\S+\.(?:png|svg))\)", summary):
        assert (results / "stage_a" / figure).stat().st_size > 5000
    assert "config/full.yaml" in summary
    table = (results / "stage_a/runs.csv").read_text().splitlines()
    assert len(table) == 1 + 2


def test_progress_is_shown_while_it_runs(finished):
    assert "runs: 2 done (0 of them diverged), 0 running, 0 to come" in finished.output
    assert re.search(r"done: train tiny/agc/0: completed", finished.output)
    log = (finished.folder / "logs/train/tiny/agc/seed-0.log").read_text()
    # What a job has to say is in its log, not on the terminal.
    assert "epoch 2/2: mae_train_loss" in log
    assert "epoch 2/2: mae_train_loss" not in finished.output


def test_nothing_is_left_to_do(finished):
    assert finished.planned() == []


def test_editing_one_arm_reruns_that_arm_only(finished):
    clip = finished.settings["arms"]["agc"]["execution"]["clip"]
    clip["max_ratio"] = 0.02
    try:
        assert finished.planned() == [
            "evaluate tiny/agc seed 0",
            "stage_a_summary",
            "train tiny/agc seed 0",
        ]
    finally:
        clip["max_ratio"] = 0.01


def test_a_further_seed_trains_that_seed_only(finished):
    finished.settings["stage_a"]["seeds"] = 2
    try:
        assert finished.planned() == [
            "evaluate tiny/agc seed 1", "evaluate tiny/control seed 1", "stage_a_summary",
            "train tiny/agc seed 1", "train tiny/control seed 1",
        ]  # fmt: skip
    finally:
        finished.settings["stage_a"]["seeds"] = 1


def test_other_thresholds_score_again_and_train_nothing(finished):
    finished.settings["evaluation"] = {"trim_px": 1}
    try:
        assert finished.planned() == [
            "evaluate tiny/agc seed 0", "evaluate tiny/control seed 0", "stage_a_summary",
        ]  # fmt: skip
    finally:
        del finished.settings["evaluation"]


def test_a_touch_or_a_new_clone_reruns_nothing_even_without_snakemakes_records(finished):
    """Git gives the files of a clone the date of the clone."""
    source, records = ROOT / "src/ptycho_torch/io.py", finished.folder / ".snakemake"
    times = source.stat().st_atime, source.stat().st_mtime
    records.rename(finished.folder / "elsewhere")
    try:
        os.utime(source)
        assert finished.planned() == []
    finally:
        os.utime(source, times)
        shutil.rmtree(records)
        (finished.folder / "elsewhere").rename(records)


def test_an_edit_of_the_package_reruns_what_runs_it(finished):
    """Snakemake itself never looks at src/; a comment in the metrics must score again."""
    source = ROOT / "src/ptycho_torch/evaluate/frc.py"
    before = source.read_bytes()
    times = source.stat().st_atime, source.stat().st_mtime
    source.write_bytes(before + b"# edited by a test\n")
    try:
        assert finished.planned() == [
            "evaluate tiny/agc seed 0", "evaluate tiny/control seed 0", "stage_a_summary",
        ]  # fmt: skip
    finally:
        source.write_bytes(before)
        os.utime(source, times)
    # The list of sources is newer than what was made by it, and says the same again.
    assert finished.planned() == []


def test_an_edit_is_seen_without_snakemakes_records(finished, tmp_path):
    """Settings are known from the records alone; code is known from the date of its list."""
    records = shutil.ignore_patterns(".snakemake")
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True, ignore=records)
    listed = tmp_path / "results/sources/evaluate.txt"
    listed.write_text(listed.read_text().replace("a", "b"))
    study = Study(tmp_path)
    assert study.planned() == [
        "evaluate tiny/agc seed 0", "evaluate tiny/control seed 0", "stage_a_summary",
    ]  # fmt: skip


def test_a_list_of_sources_that_was_deleted_reruns_nothing(finished):
    shutil.rmtree(finished.folder / "results/sources")
    assert finished.planned() == []


def test_a_damaged_dataset_fails_its_jobs_with_one_line_and_no_traceback_of_ours(
    finished, tmp_path
):
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "results/simulate/tiny/test.npz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = Study(tmp_path).call("--retries", "0")
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert "results/simulate/tiny/test.npz: SHA-256 is" in output
    assert "src/ptycho_torch" not in "\n".join(
        line for line in output.splitlines() if "Traceback" in line or "File " in line
    )


def test_results_name_no_user_host_or_folder_of_this_machine(finished):
    words = "|".join(map(re.escape, (socket.gethostname(), getpass.getuser())))
    folders = "|".join(map(re.escape, (str(finished.folder), str(ROOT), str(Path.home()))))
    secret = re.compile(rf"{folders}|\b({words})\b")
    for path in (finished.folder / "results").rglob("*"):
        if path.suffix in (".md", ".json", ".csv"):
            assert not secret.search(path.read_text()), path


def test_the_recorded_settings_are_the_ones_that_ran(finished):
    run = json.loads((finished.folder / "results/train/tiny/agc/seed-0/run.json").read_text())
    clip = run["settings"]["execution"]["clip"]
    assert clip == {"gradient_clip_algorithm": "agc", "max_ratio": 0.01, "min_weight_norm": 0.001}
