"""The tiny study on a Slurm of one node: the same bytes as here, with GPUs and retries."""

import csv
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slurm

# Measured, not computed: these may differ between a local run and one on a cluster.
MEASURED_FILES = (
    *("timing.json", "progress.json", "findings.json", "reconstruct/tiny/rpie/run.json"),
    ".plan",
)
# A run that says `cpu` asks the cluster for no GPU, so here it says `auto`, which changes no number.
DEVICE = re.compile(rb"(accelerator\W+)auto")
MEASURED_COLUMNS = {"runs.csv": ("wall_s", "inference_s", "samples_per_s", "peak_memory_mib")}
MEASURED_COLUMNS["arms.csv"] = ("wall_s", "samples_per_s", "peak_memory_mib")
MEASURED_COLUMNS["appendix.md"] = ("fit, s", "inference, s", "samples per s", "peak memory, MiB")
MEASURED_PART = re.compile(r"^## rPIE and time\n.*?(?=^## )", re.M | re.S)
MEASURED_WORDS = re.compile(r"(?<=All fits together took )[\d.]+ (s|min|h)(?=\.)")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start a Slurm with one node and one made-up GPU; stop it in the end."""
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(
        [HERE / "start_slurm.sh", folder], capture_output=True, text=True, timeout=120
    )
    if started.returncode == 0:
        yield folder
    subprocess.run([HERE / "stop_slurm.sh", folder], check=True, timeout=60)
    if started.returncode == 77:
        pytest.skip(started.stderr.strip().splitlines()[-1])
    assert started.returncode == 0, started.stderr


def begin(folder):
    """Start snakemake on the tiny study with its results in a folder; its words go to a file."""
    config = (ROOT / "tests" / "tiny.yaml").read_text()
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
    for line in output_of("squeue", "--noheader", "--states=PENDING", "-o%i %k").splitlines():
        number, name = line.split(maxsplit=1)
        if name.startswith("rule_train"):
            subprocess.run(["scancel", number], check=True)
            return True
    return False


@pytest.fixture(scope="module")
def there(cluster, tmp_path_factory):
    """The folder of a study on Slurm, where the first training to wait is lost."""
    folder = tmp_path_factory.mktemp("there")
    study = begin(folder)
    lost = False
    latest = time.monotonic() + 300
    try:
        while study.poll() is None and time.monotonic() < latest:
            lost = lost or cancel_a_waiting_training()
            time.sleep(0.5)
        assert study.poll() == 0, (folder / "terminal.txt").read_text()
    finally:
        if study.poll() is None:
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


def of_rule(jobs, name):
    return [job for job in jobs if job["Comment"].startswith(f"rule_{name}")]


def without_columns(rows, names):
    """Return rows without the named columns, which the first row must have."""
    dropped = {rows[0].index(name) for name in names}
    return [[cell for i, cell in enumerate(row) if i not in dropped] for row in rows]


def without_measured(path):
    """Return a file's content as it must be the same everywhere."""
    content = DEVICE.sub(rb"\1cpu", path.read_bytes()).replace(b"tests/tiny.yaml", b"tiny.yaml")
    if path.name not in MEASURED_COLUMNS:
        return content
    columns = MEASURED_COLUMNS[path.name]
    text = MEASURED_PART.sub("", content.decode())
    if path.suffix == ".csv":
        return without_columns(list(csv.reader(io.StringIO(text))), columns)
    before, header, after = text.partition(next(x for x in text.splitlines() if columns[0] in x))
    table, gap, rest = (header + after).partition("\n\n")
    cells = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    return before, without_columns(cells, columns), gap, MEASURED_WORDS.sub("", rest)


def test_training_went_through_slurm_one_at_a_time_on_its_gpu(there, jobs):
    trained = [job for job in of_rule(jobs, "train") if job["JobState"] == "COMPLETED"]
    assert len(trained) == 2
    for job in trained:
        assert job["JOB_GRES"] == "gpu:1"
    first, second = sorted(trained, key=lambda job: job["StartTime"])
    assert first["EndTime"] <= second["StartTime"]
    for arm in ("control", "agc"):
        log = (there / f"logs/train/tiny/{arm}/seed-0.log").read_text()
        number = re.search(r"Slurm job (\d+), GPUs: 0$", log, re.M).group(1)
        assert number in {job["JobId"] for job in trained}


def test_short_jobs_stay_out_of_the_queue(there, jobs):
    done = [job["Comment"] for job in jobs if job["JobState"] == "COMPLETED"]
    assert sorted(re.match(r"rule_([a-z]+)", name).group(1) for name in done) == [
        "reconstruct", "simulate", "train", "train",
    ]  # fmt: skip
    logs = (there / "logs").rglob("*.log")
    here = {p.parts[len(there.parts) + 1] for p in logs if "Slurm job" not in p.read_text()}
    assert here == {"evaluate", "stage_a_summary.log"}


def test_a_lost_training_asks_for_more_and_the_study_goes_on(jobs):
    (lost,) = [job for job in jobs if job["JobState"] == "CANCELLED"]
    again = [job for job in jobs if job["Comment"] == lost["Comment"] and job != lost]
    assert [job["JobState"] for job in again] == ["COMPLETED"]
    asked = [(job["MinMemoryNode"], job["TimeLimit"]) for job in (lost, *again)]
    assert asked == [("8000M", "04:00:00"), ("16000M", "08:00:00")]


def test_slurms_own_logs_go_with_success(there):
    assert not list(there.rglob("slurm/**/*.log"))


def test_every_file_has_the_bytes_of_a_local_run(there, tiny_run):
    """Last, since it waits for the tiny study that all tests share."""
    here, found = tiny_run.folder / "results", there / "results"
    names = {str(p.relative_to(found)) for p in found.rglob("*") if p.is_file()}
    assert len(names) > 25
    differ = {
        name
        for name in names
        if not name.endswith(MEASURED_FILES)
        and without_measured(here / name) != without_measured(found / name)
    }
    assert differ == set()
