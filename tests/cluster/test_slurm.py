"""Stage A of the tiny study on a Slurm of one node: the same numbers as here, with a GPU and retries."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from filelock import FileLock
from tests.contract.record import ROOT, record_results

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, unavailable):
    """Start a Slurm with one node and one made-up GPU; stop it in the end. One at a time."""
    folder = tmp_path_factory.mktemp("slurm")
    with FileLock(Path(tempfile.gettempdir()) / "ptycho-slurm.lock"):
        started = subprocess.run(
            [HERE / "slurm.sh", "start", folder], capture_output=True, text=True, timeout=120
        )
        if started.returncode == 0:
            yield folder
        subprocess.run([HERE / "slurm.sh", "stop", folder], check=True, timeout=60)
    if started.returncode == 77:
        unavailable("slurm", started.stderr.strip().splitlines()[-1])
    assert started.returncode == 0, started.stderr


def begin(folder):
    """Start snakemake on the tiny study with its results in a folder; its words go to a file."""
    config = (ROOT / "tests" / "tiny.yaml").read_text()
    # A run that says `cpu` asks the cluster for no GPU, so here it says `auto`.
    (folder / "tiny.yaml").write_text(config.replace("accelerator: cpu", "accelerator: auto"))
    unset = ("SLURM_CONF", "CUDA_VISIBLE_DEVICES")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    with (folder / "terminal.txt").open("w") as terminal:
        return subprocess.Popen(
            [BIN / "snakemake", "stage_a_summary", "--directory", folder, "--configfile",
             folder / "tiny.yaml", "--workflow-profile", "profiles/slurm", "--profile", HERE / "one_node"],
            cwd=ROOT, env=environment, stdout=terminal, stderr=subprocess.STDOUT,
        )  # fmt: skip


def output_of(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def cancel_a_waiting_training():
    """Cancel a training that waits for the GPU, if there is one; return whether there was."""
    for line in output_of("squeue", "--noheader", "--states=PENDING", "-o%i %r %k").splitlines():
        number, reason, name = line.split(maxsplit=2)
        if reason == "Resources" and name.startswith("rule_train"):
            subprocess.run(["scancel", number], check=True)
            return True
    return False


@pytest.fixture(scope="module")
def there(cluster, tmp_path_factory):
    """The folder of a study on Slurm, where the first training to wait is lost."""
    folder = tmp_path_factory.mktemp("there")
    study, lost, latest = begin(folder), False, time.monotonic() + 300
    try:
        while study.poll() is None and time.monotonic() < latest:
            lost = lost or cancel_a_waiting_training()
            time.sleep(0.5)
        assert study.poll() == 0, (folder / "terminal.txt").read_text()
    finally:
        study.kill()
        study.wait()
    assert lost
    return folder


@pytest.fixture(scope="module")
def jobs(there):
    """What Slurm says of every job that it was given, in their order."""
    lines = output_of("scontrol", "--details", "--oneliner", "show", "job").splitlines()
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
    return sorted(found, key=lambda job: int(job["JobId"]))


def test_long_jobs_went_through_slurm_and_trainings_one_at_a_time_on_its_gpu(there, jobs):
    done = [job for job in jobs if job["JobState"] == "COMPLETED"]
    names = [re.match(r"rule_([a-z]+)", job["Comment"]).group(1) for job in done]
    assert sorted(names) == ["reconstruct", "simulate", "train", "train"]
    trained = [job for job, name in zip(done, names, strict=True) if name == "train"]
    assert [job["JOB_GRES"] for job in trained] == ["gpu:1", "gpu:1"]
    first, second = sorted(trained, key=lambda job: job["StartTime"])
    assert first["EndTime"] <= second["StartTime"]
    logs = {path: path.read_text() for path in (there / "logs").rglob("*.log")}
    here = {p.parts[len(there.parts) + 1] for p, text in logs.items() if "Slurm job" not in text}
    assert here == {"evaluate", "stage_a_summary.log"}
    for arm in ("control", "agc"):
        log = logs[there / f"logs/train/tiny/{arm}/seed-0.log"]
        number = re.search(r"Slurm job (\d+), GPUs: 0$", log, re.M).group(1)
        assert number in {job["JobId"] for job in trained}
    left = {path.stem for path in there.rglob("slurm/**/*.log")}
    assert not left & {job["JobId"] for job in done}  # Slurm's own go with success.


def test_a_lost_training_asks_for_more_and_the_study_goes_on(jobs):
    (lost,) = [job for job in jobs if job["JobState"] == "CANCELLED"]
    again = [job for job in jobs if job["Comment"] == lost["Comment"] and job != lost]
    assert [job["JobState"] for job in again] == ["COMPLETED"]
    requested = [(job["MinMemoryNode"], job["TimeLimit"]) for job in (lost, *again)]
    assert requested == [("8000M", "04:00:00"), ("16000M", "08:00:00")]


def test_every_result_has_the_numbers_of_a_local_run(there, tiny_run):
    """To the last digit. Last, since it waits for the tiny study that all tests share."""
    found = record_results(there / "results")
    assert len(found["files"]) > 25 and set(found["files"]) <= set(tiny_run.record["files"])
    digests, local = found["digests"], tiny_run.record["digests"]
    assert len(digests) > 10
    assert {name for name in digests if digests[name] != local[name]} == set()
