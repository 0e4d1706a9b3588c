"""Calls of snakemake that are killed: their locks, their jobs, and two jobs of one run."""

import os
import select
import signal
import subprocess
import sys

import pytest

MEMBER = """
import os, sys
from pathlib import Path
from ptycho_torch.runtime import call

kind, place = sys.argv[1:]
told = call.join(is_call=kind == "call")
if kind == "call":
    call.began(jobs_are_here=place == "here")
    lock = Path(".snakemake/locks/0.output.lock")
    lock.parent.mkdir(exist_ok=True)
    # As Snakemake, which stops where it finds one.
    if not lock.exists():
        lock.write_text(str(os.getpid()))
print(told, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def member(tmp_path):
    """Start a call or a job of the workflow; return the process and what it was told."""
    started = []

    def start(kind, place="here"):
        process = subprocess.Popen(
            [sys.executable, "-c", MEMBER, kind, place],
            cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill(process):
    process.kill()
    process.wait()


def test_locks_of_a_killed_call_are_removed_by_the_next(member, tmp_path):
    first, told = member("call")
    assert told == "None"
    kill(first)
    assert (tmp_path / ".snakemake/locks/0.output.lock").exists()
    _, told = member("call")
    assert told.endswith("removed the locks of a call that was killed; its work goes on")


def test_a_killed_calls_locks_go_once_its_jobs_have_ended(member, tmp_path):
    first, _ = member("call")
    job, _ = member("job")
    kill(first)
    _, told = member("call")
    assert "is at work here" in told and str(job.pid) in told
    kill(job)


def test_a_live_calls_locks_stay_and_it_is_named(member, tmp_path):
    first, _ = member("call")
    second, told = member("call")
    assert "another call of snakemake" in told and f"process {first.pid}" in told
    kill(second)
    assert (tmp_path / ".snakemake/locks/0.output.lock").read_text() == str(first.pid)
    kill(first)


@pytest.mark.parametrize("trace", ["elsewhere", "other host", "none"])
def test_locks_whose_owner_may_live_elsewhere_stay_and_the_command_is_said(member, tmp_path, trace):
    first, _ = member("call", trace)
    kill(first)
    noted = tmp_path / ".snakemake/ptycho-torch-calls"
    if trace != "elsewhere":
        noted.write_text("a-node-of-the-cluster here\n" if trace == "other host" else "")
    _, told = member("call")
    assert told.endswith("if you are sure that nothing runs: snakemake --unlock")
    assert (tmp_path / ".snakemake/locks/0.output.lock").exists()


ORPHAN = """
import subprocess, sys
from ptycho_torch.runtime import call

call.announce_call()
job = "import sys, time; from ptycho_torch import call; print(call.caller_is_gone(), flush=True); " \\
      "sys.stdin.readline(); print(call.caller_is_gone(), flush=True)"
subprocess.Popen([sys.executable, "-c", job], stdin=0)
sys.stdin = None
import time; time.sleep(100)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux's /proc")
def test_a_job_knows_when_its_call_was_killed():
    asked, tell = os.pipe()
    call = subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdin=asked, stdout=subprocess.PIPE, text=True
    )
    assert call.stdout.readline() == "False\n"
    kill(call)
    os.write(tell, b"\n")
    assert call.stdout.readline() == "True\n"
    call.stdout.close()


def test_two_jobs_of_one_run_wait_for_each_other(tmp_path):
    program = (
        "import sys; from ptycho_torch.runtime.run_lock import run_lock\n"
        "with run_lock([sys.argv[1]]):\n    print('in', flush=True); sys.stdin.readline()"
    )

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "run")], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    first = start()
    assert first.stdout.readline() == "in\n"
    second = start()
    assert "another job is at work on this run" in second.stderr.readline()
    assert not select.select([second.stdout], [], [], 0.3)[0]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.stdout.readline() == "in\n"
    second.communicate("\n")
    assert not (tmp_path / "run").exists()
