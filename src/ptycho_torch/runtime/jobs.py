"""What every rule script does around its work: a log file, a time limit, errors in one line; and
how want of memory is told from every other error.
"""

import contextlib
import errno
import faulthandler
import logging
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ptycho_torch.runtime.disk import remove_leftovers
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger("ptycho_torch")

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


def run_job(main: Callable[[Any], None], job: Any) -> None:
    """Run `main(job)`, logging to the job's log file and to the terminal's error stream.

    A user's mistake ends the job with one line and exit status 1, Ctrl-C with status 130, want of
    memory with one line and status ENOMEM; anything else keeps its traceback. A job that its
    profile gives a `runtime` (minutes) ends after that time, with its stack in the log. What a
    killed job left half-written of these outputs is removed first.
    """
    handlers: list[logging.StreamHandler[Any]] = [logging.StreamHandler(sys.stderr)]
    if job.log:
        # The terminal belongs to the study's progress.
        handlers[0].setLevel(logging.ERROR)
        Path(job.log[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(job.log[0], mode="w", encoding="utf-8"))
    logging.captureWarnings(True)
    with logging_to(*handlers, layout="%(asctime)s %(levelname)s %(message)s"):
        if "SLURM_JOB_ID" in os.environ:
            gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
            logger.info("Slurm job %s, GPUs: %s", os.environ["SLURM_JOB_ID"], gpus)
        try:
            for path in getattr(job, "output", ()):
                remove_leftovers(path)
            if minutes := granted(job, "runtime"):
                stream = handlers[-1].stream
                faulthandler.dump_traceback_later(60 * minutes, exit=True, file=stream)
            main(job)
        except KeyboardInterrupt:
            logger.warning("interrupted")  # On the terminal the study says so once.
            sys.exit(130)
        except InputError as error:
            logger.error("%s", error)
            sys.exit(1)
        except Exception as error:
            if short := out_of_memory(error):
                logger.error("%s", short)
                sys.exit(errno.ENOMEM)
            logger.exception("this job failed; the traceback may help those who mend it")
            sys.exit(1)
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def logging_to(*handlers: logging.Handler, layout: str) -> Iterator[None]:
    """Give handlers what the package logs from INFO on, and what other libraries warn of."""
    root, level = logging.getLogger(), logger.level
    for handler in handlers:
        handler.setFormatter(logging.Formatter(layout, "%H:%M:%S"))
        root.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def granted(job: Any, name: str) -> float:
    """Return what the profile gives a job of a resource; 0 if it says nothing."""
    value = getattr(getattr(job, "resources", None), name, None)
    return value if isinstance(value, (int, float)) else 0


def usable_threads(requested: int) -> int:
    """Return `requested`, but no more than the cores this process may use."""
    told = hasattr(os, "sched_getaffinity")  # macOS and Windows do not tell.
    cores = len(os.sched_getaffinity(0)) if told else os.cpu_count() or 1
    return max(1, min(requested, cores))


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


def out_of_memory(error: BaseException) -> str | None:
    """Return one line for an error for want of memory, with the cure; None for any other error."""
    if (requested := shortage(error)) is None:
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
