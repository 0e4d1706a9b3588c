"""A job that hangs is ended after its time, whatever it hangs in, and its log says where."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ptycho_torch.runtime.watchdog import time_limit

JOB = """
import signal, sys, time, os
from types import SimpleNamespace as Space
from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.watchdog import time_limit

def waits_for_what_never_comes(job):
    time.sleep(60)

def works(job):
    print(os.getpid())

job = Space(log=["log.txt"], resources=Space(runtime=float(sys.argv[2])))
"""


@pytest.fixture
def start(tmp_path):
    """Run a job with a limit in minutes; return its process when it has ended, and its seconds."""

    def run(line, minutes):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", f"{JOB}\n{line}", line, str(minutes)],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50,
        )  # fmt: skip
        return done, time.monotonic() - began

    return run


def test_a_job_that_hangs_is_ended_and_says_where(start, tmp_path):
    done, seconds = start("run_job(waits_for_what_never_comes, job)", 0.01)
    assert done.returncode == -signal.SIGTERM and seconds < 30
    log = (tmp_path / "log.txt").read_text()
    assert "ERROR time limit: not done after 0.6 s; it hangs or needs longer" in log
    assert "ERROR time limit" in done.stderr
    assert log.index("time limit") < log.index("in waits_for_what_never_comes")


@pytest.mark.parametrize(
    "hang",
    [
        "os.kill(os.getpid(), signal.SIGSTOP)",
        # In C, with the interpreter's lock held: no other Python thread could end it.
        "import ctypes; ctypes.PyDLL(None).sleep(60)",
    ],
)
def test_one_that_cannot_answer_is_killed(start, tmp_path, hang):
    line = (
        "for name in (signal.SIGUSR1, signal.SIGTERM): signal.signal(name, signal.SIG_IGN)\n"
        f"with time_limit(0.3, 'log.txt', grace_s=0.2):\n    {hang}"
    )
    done, seconds = start(line, 0)
    assert done.returncode == -signal.SIGKILL and seconds < 30
    assert "time limit: not done after 0.3 s" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("minutes", [0, 10])
def test_a_job_that_ends_in_time_leaves_no_watch(start, tmp_path, minutes):
    done, seconds = start("run_job(works, job)", minutes)
    assert done.returncode == 0 and seconds < 30 and done.stderr == ""
    assert (tmp_path / "log.txt").read_text() == ""
    assert not watches(int(done.stdout))


def test_the_watch_ends_with_the_block_also_where_the_process_goes_on(tmp_path):
    with time_limit(60, tmp_path / "log.txt"):
        assert len(watches(os.getpid())) == 1
    assert not watches(os.getpid())


def test_a_job_that_is_killed_leaves_no_watch(start):
    done, seconds = start(
        "print(os.getpid(), flush=True)\n"
        "run_job(lambda job: os.kill(os.getpid(), signal.SIGKILL), job)", 10
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL and seconds < 30
    for _ in range(100):
        if not watches(int(done.stdout)):
            break
        time.sleep(0.05)
    assert not watches(int(done.stdout))


def watches(job):
    """Return the processes that watch a job, by their command lines."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in listed if f"watchdog.py {job} " in line]
