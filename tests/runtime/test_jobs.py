"""A job that hangs ends after its time and its log says where; two jobs of one run exclude each
other."""

import select
import signal
import subprocess
import sys
import time

JOB = """
import sys, time
from types import SimpleNamespace as Space
from ptycho_torch.runtime.jobs import run_job

def waits_for_what_never_comes(job):
    exec(sys.argv[1])

run_job(waits_for_what_never_comes, Space(log=["log.txt"], resources=Space(runtime=float(sys.argv[2]))))
"""


def test_a_job_that_hangs_is_ended_and_says_where(tmp_path):
    # In C, with the interpreter's lock held: no other Python thread could end it.
    hang = "import ctypes; ctypes.PyDLL(None).sleep(60)"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", JOB, hang, "0.01"], cwd=tmp_path, check=False)
    assert done.returncode == 1 and time.monotonic() - began < 30
    log = (tmp_path / "log.txt").read_text()
    assert "Timeout (0:00:00" in log and "in waits_for_what_never_comes" in log


def test_two_jobs_of_one_run_wait_for_each_other(tmp_path):
    program = (
        "import sys; from ptycho_torch.runtime.locks import run_lock\n"
        "with run_lock(sys.argv[1]):\n    print('in', flush=True); sys.stdin.readline()"
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
