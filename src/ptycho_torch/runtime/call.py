"""Calls of snakemake: whether a job's own lives, and what a killed one left locked.

A call that is killed outright (SIGKILL, out of memory) leaves its jobs behind, and its locks.
Snakemake will not take those jobs' results, so a training that notices ends, and leaves its state
for the next call. The locks are plain files, which tell nothing of their owner; beside them each
process of the workflow holds a lock of the kernel's, which ends with it. Imported at every parse.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import socket
from pathlib import Path

logger = logging.getLogger(__name__)

_VARIABLE = "PTYCHO_TORCH_CALL"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_RECORDS = Path(".snakemake")
_CALLS = _RECORDS / "ptycho-torch-calls"
"""A line for each call that began to work: host, and whether its jobs ran there too."""
_LOCKS = _RECORDS / "locks"
_held: list[int] = []
"""Descriptors that stay open, and with them the kernel's lock, as long as the process."""


def announce_call() -> None:
    """Let jobs that this process starts know whose they are; outside Linux nothing is done."""
    mine = _identity(os.getpid())
    if mine is not None:
        os.environ[_VARIABLE] = mine


def caller_is_gone() -> bool:
    """Return whether this job's call of snakemake has ended; False where that cannot be known.

    On another machine of a cluster, or in another container, it cannot.
    """
    announced = os.environ.get(_VARIABLE, "")
    words = announced.split()
    if len(words) != 4 or not words[2].isdigit() or words[:2] != _world():
        return False
    return _identity(int(words[2])) != announced


def _world() -> list[str] | None:
    """Return what process numbers mean here: since which boot, and in which namespace."""
    try:
        return [
            _BOOT.read_text(encoding="ascii").strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    except OSError:
        return None


def _identity(pid: int) -> str | None:
    """Return boot, namespace, number and start of a process; None if there is no such process."""
    world = _world()
    try:
        # After the name, which may hold anything, the 20th field is the start, in ticks.
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if world is None or fields[0] in ("Z", "X"):
        return None
    return " ".join([*world, str(pid), fields[19]])


def join(*, is_call: bool) -> str | None:
    """Take part in the work in this folder until the process ends; free locks of the dead.

    Snakemake's locks are removed where their owners are provably dead: no process of the workflow
    holds the kernel's lock, and all calls that may have left them ran on this host, as did their
    jobs.

    Parameters
    ----------
    is_call
        Whether this process is a call, as against a job of one.

    Returns
    -------
    str or None
        What to tell the user.
    """
    try:
        _RECORDS.mkdir(exist_ok=True)
        handle = os.open(_CALLS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _held.append(handle)
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError:
        # A read-only folder, or one without locks: Snakemake's own words have to do.
        return None
    if not is_call:
        return None
    locked = _LOCKS.is_dir() and any(_LOCKS.iterdir())
    told = None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if locked:
            told = (
                f"{Path.cwd()}: another call of snakemake, or a job that a killed one left, is at "
                f"work here{_holders(handle)}; wait for its end, or end it"
            )
    else:
        if locked:
            told = _free(handle)
        else:
            os.ftruncate(handle, 0)
    # Asking for more may have cost what was held.
    fcntl.flock(handle, fcntl.LOCK_SH)
    return told


def began(*, jobs_are_here: bool) -> None:
    """Note that this call works, and whether its jobs run on this host."""
    place = "here" if jobs_are_here else "elsewhere"
    with contextlib.suppress(OSError, IndexError):
        os.write(_held[-1], f"{socket.gethostname()} {place}\n".encode())


def _free(handle: int) -> str:
    lines = set(os.pread(handle, 2**20, 0).decode(errors="replace").splitlines())
    if lines != {f"{socket.gethostname()} here"}:
        known = "; ".join(sorted(lines)) or "unknown"
        return (
            f"{Path.cwd()}: locked by a call that may live on another machine or have jobs there "
            f"(host and jobs: {known}); if you are sure that nothing runs: snakemake --unlock"
        )
    shutil.rmtree(_LOCKS)
    os.ftruncate(handle, 0)
    return f"{Path.cwd()}: removed the locks of a call that was killed; its work goes on"


def _holders(handle: int) -> str:
    """Return the processes that hold the lock, in words; empty where the kernel does not tell."""
    inode = str(os.fstat(handle).st_ino)
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    # 1: FLOCK  ADVISORY  READ  4711 08:02:1234 0 EOF
    fields = [line.split() for line in lines if "->" not in line]
    found = {f[4] for f in fields if len(f) > 5 and f[5].rpartition(":")[2] == inode}
    pids = sorted(found - {str(os.getpid()), "-1", "0"}, key=int)
    return f" (process {', '.join(pids)})" if pids else ""
