"""The GPU lease, with a made-up nvidia-smi and jobs that are processes of their own."""

import os
import subprocess
import sys

import pytest

from ptycho_torch.runtime.locks import gpu_lease

JOB = """
import sys
from ptycho_torch.runtime.locks import gpu_lease
with gpu_lease("auto") as gpu:
    print(gpu, flush=True)
    sys.stdin.read()
"""


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


@pytest.fixture
def start():
    """Start a job that holds its lease until its standard input ends."""
    jobs = []

    def begin():
        pipe = subprocess.PIPE
        jobs.append(
            subprocess.Popen([sys.executable, "-c", JOB], stdin=pipe, stdout=pipe, text=True)
        )
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()
        job.wait()
        job.stdout.close()


def gpu_of(job):
    return job.stdout.readline().split()[0]


def test_jobs_started_together_take_a_gpu_each_and_the_next_ones_share(machine, start):
    machine("seq 0 1")
    jobs = [start() for _ in range(2)]
    assert sorted(gpu_of(job) for job in jobs) == ["0", "1"]
    assert sorted(gpu_of(job) for job in [start(), start()]) == ["0", "1"]


def test_the_environment_is_as_before_after_the_lease_and_a_choice_already_made_stands(
    machine, monkeypatch
):
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
