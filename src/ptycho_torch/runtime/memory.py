"""Memory that ran out, of the machine or of a GPU: what was needed, and what helps.

A kernel that kills a process for want of memory leaves it no word: then all there is is signal 9.
"""

import contextlib
import errno
import re
import resource
import sys
from pathlib import Path

OUT_OF_MEMORY = 12
"""Exit status where memory ran out, the number of the system's ENOMEM."""

_MESSAGE = re.compile(
    "out of memory|not enough memory|can(no|')t allocate|unable to allocate|alloc_failed|bad_alloc",
    re.IGNORECASE,
)
_CURES = (
    "train with execution.checkpointing: true (the same numbers, a third more work) or a smaller "
    "training.batch_size (another run); infer with a smaller --batch-size; give the job more "
    "memory (--set-resources RULE:mem_mb=... on a cluster); run fewer jobs at once (--cores, "
    "--resources gpu=1)"
)


def shortage(error: BaseException | None) -> str | None:
    """Return what could not be had, if an error is about memory; None if about anything else."""
    if error is None:
        return None
    # torch's own type for GPUs is a RuntimeError as well, and other libraries raise bare ones.
    said = isinstance(error, RuntimeError) and _MESSAGE.search(str(error))
    if said or isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        text = next(iter(str(error).splitlines()), "") or type(error).__name__
        return text.strip().rstrip(".")
    return shortage(error.__cause__ or (None if error.__suppress_context__ else error.__context__))


def explain(error: BaseException) -> str | None:
    """Return one line for an error for want of memory, with the cure; None for any other error."""
    requested = shortage(error)
    if requested is None:
        return None
    return (
        f"memory ran out: {requested}; this process had {process_peak() / 2**30:.4g} GiB at most. "
        f"Nothing diverged and there is no result. What helps: {_CURES}"
    )


def process_peak() -> int:
    """Return the most bytes of memory that this process has held."""
    # Linux's `getrusage` counts also what the process that started this one held at that moment.
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        if found := re.search(r"VmHWM:\s+(\d+)", status):
            return int(found[1]) * 2**10
    # Bytes on macOS, KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
