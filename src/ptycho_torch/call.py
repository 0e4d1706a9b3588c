"""Which call of snakemake a job belongs to, and whether it lives. Imported at every parse.

A call that is killed outright (SIGKILL, out of memory) leaves its jobs behind. Snakemake will not
take their results, so a training that notices ends, and leaves its state for the next call.
"""

import os
from pathlib import Path

_VARIABLE = "PTYCHO_TORCH_CALL"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


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
