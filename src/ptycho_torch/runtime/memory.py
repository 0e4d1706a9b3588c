"""Memory that ran out: told from every other failure, with what was needed and what helps.

For the machine's memory, for a limit on it (`ulimit -v`) and for a GPU's. A kernel that kills a
process for want of memory leaves it no word: then all there is is signal 9 (exit status 137).
"""

import contextlib
import errno
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

OUT_OF_MEMORY = 12
"""Exit status where memory ran out, the number of the system's ENOMEM."""

_SAYS_SO = re.compile(
    "out of memory|not enough memory|can(no|')t allocate|unable to allocate|alloc_failed|"
    "bad_alloc|failed to map segment|can't start new thread",
    re.IGNORECASE,
)
_BYTES = re.compile(r"tried to allocate (\d+) bytes")
_MORE = (
    "give the job more memory (--set-resources RULE:mem_mb=... on a cluster) or run fewer jobs at "
    "once (--cores, --resources gpu=1)"
)


@contextlib.contextmanager
def mitigated_by(what: str, cures: Iterable[str]) -> Iterator[None]:
    """Add to an error for want of memory what was being done, and what would need less.

    Parameters
    ----------
    what
        What is done in the block, as in "while <what>".
    cures
        Changes that need less memory, the mildest first.
    """
    try:
        yield
    except Exception as error:
        if shortage(error) is not None:
            error.add_note(f"{what}\n{'; '.join(cures)}")
        raise


def shortage(error: BaseException) -> str | None:
    """Return what could not be had, if an error is about memory; None if about anything else."""
    if isinstance(error, OSError):
        short = error.errno == errno.ENOMEM
    else:
        # torch's own type for GPUs is a RuntimeError as well, and other libraries raise bare ones.
        short = isinstance(error, MemoryError) or (
            isinstance(error, (RuntimeError, ImportError)) and bool(_SAYS_SO.search(str(error)))
        )
    if short:
        return _asked_for(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None if cause is None else shortage(cause)


def explain(error: BaseException) -> str | None:
    """Return one line for an error for want of memory: what, how much, the cure; None for others.

    What the error's stack holds on to is given up, so that there is memory for the line.
    """
    wanted = shortage(error)
    if wanted is None:
        return None
    traceback.clear_frames(error.__traceback__)
    notes = [note.partition("\n") for note in getattr(error, "__notes__", [])]
    during = f" while {notes[0][0]}" if notes else ""
    cures = "; ".join([*(cure for _, _, cure in notes), _MORE])
    return (
        f"memory ran out{during}: {wanted}; {', '.join(peaks())}. Nothing diverged and there is "
        f"no result. What helps: {cures}"
    )


def peaks() -> list[str]:
    """Return the most memory that this process has had so far, and the limits in force."""
    import resource

    said = [f"this process had {_size(process_peak())} at most"]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        said.append(f"its addresses are limited to {_size(limit)} (ulimit -v)")
    torch = sys.modules.get("torch")
    # A torch whose import failed is there in part only.
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        whole = cuda.get_device_properties(cuda.current_device()).total_memory
        said.append(f"its tensors {_size(cuda.max_memory_allocated())} of the GPU's {_size(whole)}")
    return said


def process_peak(status: Path = Path("/proc/self/status")) -> int:
    """Return the most bytes of memory that this process has held.

    status: where Linux says it. `getrusage` counts there what the process that started this one
    held at that moment.
    """
    import resource

    with contextlib.suppress(OSError):
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 2**10
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _asked_for(error: BaseException) -> str:
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    if found := _BYTES.search(text):
        return f"{_size(int(found[1]))} more could not be had"
    return text.strip().rstrip(".")[:300]


def _size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
