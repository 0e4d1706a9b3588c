"""How jobs share a machine and end: want of memory is told from every other failure and tried again,
one that hangs is ended, two of one run exclude each other, and each leases a GPU."""

import errno
import os
import select
import signal
import subprocess
import sys
import time
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tests.commands import run

from ptycho_torch import cli
from ptycho_torch.runtime.jobs import out_of_memory
from ptycho_torch.runtime.locks import gpu_lease
from ptycho_torch.train.module import PtychoModule

CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB\nof"


def too_much_of_a_gpu(*_):
    raise torch.OutOfMemoryError(CUDA)


def too_much_behind_another_error():
    try:
        torch.empty(2**50, dtype=torch.uint8)
    except RuntimeError as error:
        raise KeyError("weights") from error


@pytest.mark.parametrize(
    ("work", "wanted"),
    [
        (lambda: np.empty(2**60, np.uint8), "Unable to allocate 1.00 EiB for an array with shape"),
        (too_much_of_a_gpu, "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total"),
        (too_much_behind_another_error, "[enforce fail at alloc_cpu.cpp"),
    ],
)
def test_what_could_not_be_had_is_named(work, wanted):
    try:
        work()
    except Exception as error:
        said = out_of_memory(error)
    assert said.startswith(f"memory ran out: {wanted}")
    assert "this process had " in said and "\n" not in said
    # Other errors are none of its business.
    assert out_of_memory(RuntimeError("shapes cannot be multiplied")) is None
    assert out_of_memory(OSError(28, "full")) is None


def test_a_command_without_memory_ends_with_one_line_and_a_status_of_its_own(monkeypatch):
    monkeypatch.setattr(cli, "app", Mock(side_effect=MemoryError))
    status, _, err = run("plan")
    assert status == 12 and err.count("\n") == 1 and "memory ran out" in err


def test_a_gpu_without_memory_is_no_outcome(
    run_script, run_of, tiny_dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(PtychoModule, "training_loss", too_much_of_a_gpu)
    run = run_of().model_dump(mode="json")
    with pytest.raises(SystemExit) as ended:
        run_script(
            "train.py", params={"run": run}, output={"run": "seed-0/run.json"},
            input={**tiny_dataset.splits, "dataset": tiny_dataset.dataset},
        )  # fmt: skip
    assert ended.value.code == errno.ENOMEM
    log = (tmp_path / "log.txt").read_text()
    assert "ERROR memory ran out: CUDA" in log and "Traceback" not in log
    for cure in ("execution.checkpointing: true", "training.batch_size", "mem_mb"):
        assert cure in log
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "log.txt"]


WORKFLOW = """
rule train:
    output: "done.txt"
    log: "log.txt"
    script: "job.py"
"""
JOB = """
from pathlib import Path
from ptycho_torch.runtime.jobs import granted, run_job

def main(job):
    with Path("attempts.txt").open("a") as said:
        print(*(int(granted(job, name)) for name in ("runtime", "low_memory")), file=said)
    if not granted(job, "low_memory"):
        raise MemoryError
    Path(job.output[0]).touch()

run_job(main, snakemake)
"""


def test_the_default_profile_tries_again_with_more_time_and_less_memory(root, tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "job.py").write_text(JOB)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--workflow-profile",
         root / "profiles/default"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "non-zero exit status 12" in done.stderr
    assert (tmp_path / "attempts.txt").read_text().split("\n") == ["1440 0", "2880 1", ""]


HANGING_JOB = """
import ctypes
from types import SimpleNamespace as Space
from ptycho_torch.runtime.jobs import run_job

def waits_for_what_never_comes(job):
    # In C, with the interpreter's lock held: no other Python thread could end it.
    ctypes.PyDLL(None).sleep(60)

run_job(waits_for_what_never_comes, Space(log=["log.txt"], resources=Space(runtime=0.01)))
"""


def test_a_job_that_hangs_is_ended_and_says_where(tmp_path):
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANGING_JOB], cwd=tmp_path, check=False)
    assert done.returncode == 1 and time.monotonic() - began < 30
    log = (tmp_path / "log.txt").read_text()
    assert "Timeout (0:00:00" in log and "in waits_for_what_never_comes" in log


@pytest.fixture
def start():
    """Start a job that says what it has got, and holds it until its standard input ends."""
    jobs, pipe = [], subprocess.PIPE

    def begin(lock):
        program = f"""if True:
            import sys
            from ptycho_torch.runtime.locks import gpu_lease, run_lock
            with {lock} as got:
                print(got, flush=True)
                sys.stdin.read()"""
        command = [sys.executable, "-c", program]
        jobs.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()
        job.communicate()


def test_two_jobs_of_one_run_wait_for_each_other(tmp_path, start):
    lock = f"run_lock({str(tmp_path / 'run')!r})"
    first = start(lock)
    assert first.stdout.readline() == "None\n"
    second = start(lock)
    assert "another job is at work on this run" in second.stderr.readline()
    assert not select.select([second.stdout], [], [], 0.3)[0]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.stdout.readline() == "None\n"
    second.communicate("")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give this process, and those it starts, a `nvidia-smi` and a folder of locks of their own."""

    def build(command):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return build


def test_jobs_started_together_take_a_gpu_each_and_the_next_ones_share(machine, start):
    machine("seq 0 1")
    for _ in "ab":
        jobs = [start("gpu_lease('auto')") for _ in "ab"]
        assert sorted(job.stdout.readline() for job in jobs) == ["0\n", "1\n"]


def test_the_environment_is_put_back_and_a_choice_already_made_stands(machine, monkeypatch):
    machine("seq 0 1")
    with gpu_lease("auto") as gpu:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == gpu == "0"
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert not {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"} & set(os.environ)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with gpu_lease("gpu") as gpu:
        assert gpu is None and os.environ["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(
    ("program", "accelerator"),
    [("echo 0", "auto"), ("seq 0 1", "cpu"), ("echo 'no driver'; exit 9", "auto")],
)
def test_where_nothing_is_to_choose_nothing_changes(machine, tmp_path, program, accelerator):
    machine(program)
    with gpu_lease(accelerator) as gpu:
        assert gpu is None
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not list(tmp_path.glob("ptycho-torch-*"))
