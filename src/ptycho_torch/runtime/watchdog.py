"""Ends a job that goes on beyond its time limit, whatever it hangs in.

A process of its own beside the job, so that it also ends one that is stopped, or that waits in
some library and lets no other Python thread run. It leaves by itself when the job ends, however
that ends: the job's end of its standard input is closed then. Standard library only, and started
without site packages: it costs some hundredths of a second.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

GRACE_S = 30.0
"""Seconds between asking a job to end (SIGTERM) and ending it (SIGKILL), as Slurm gives."""


@contextlib.contextmanager
def time_limit(seconds: float, log: str | Path, *, grace_s: float = GRACE_S) -> Iterator[None]:
    """Let this process be ended if it is still in the block after so many seconds.

    It is first asked to say where it is (SIGUSR1) and to end (SIGTERM), then killed.

    Parameters
    ----------
    seconds
        The limit.
    log
        File that the reason is added to, beside the terminal.
    grace_s
        Time between asking and killing.
    """
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(log)]
    beside = subprocess.Popen(
        [*command, str(seconds), str(grace_s)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        # Not by closing the pipe alone: what the job has forked may hold it open.
        beside.kill()
        beside.communicate()


def watch(job: int, log: str, seconds: float, grace_s: float) -> None:
    """Wait for the job's end, at most so long; then end it. Runs in the process beside it."""
    # What interrupts the job is not meant for its watch, which must see it through.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    if _ended_within(seconds):
        return
    limit = f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
    text = (
        f"{time.strftime('%H:%M:%S')} ERROR time limit: not done after {limit}; it hangs or needs "
        f"longer, and is ended (SIGTERM, SIGKILL {grace_s:g} s later). Where it was is said below "
        "if it still answers. More time: --set-resources RULE:runtime=MINUTES\n"
    )
    # The job must end also where the log cannot be written.
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
    with contextlib.suppress(OSError), Path(log).open("a", encoding="utf-8") as handle:
        handle.write(text)
    for name, wait_s in ((signal.SIGUSR1, 0.5), (signal.SIGTERM, grace_s), (signal.SIGKILL, 1.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(job, name)
        if _ended_within(wait_s):
            return


def _ended_within(seconds: float) -> bool:
    """Wait until the job's end of the pipe is closed; return whether it was."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
