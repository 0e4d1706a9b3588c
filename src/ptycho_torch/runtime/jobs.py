"""What every rule script does around its work: a log file, and errors a user can read."""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ptycho_torch.runtime import memory
from ptycho_torch.runtime.atomic_write import remove_leftovers
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.watchdog import time_limit

logger = logging.getLogger("ptycho_torch")


def run_job(main: Callable[[Any], None], job: Any) -> None:
    """Run `main(job)`, logging to the job's log file and to the terminal's error stream.

    A user's mistake ends the job with one line and exit status 1, Ctrl-C with status 130, want of
    memory with one line and `memory.OUT_OF_MEMORY`; anything else keeps its traceback, since it is
    a fault of ours or of the machine. A job that its profile gives a `runtime` (minutes) is ended
    after that time. What a killed job left of these outputs, half-written under temporary names,
    is taken away first.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if job.log:
        Path(job.log[0]).parent.mkdir(parents=True, exist_ok=True)
        Path(job.log[0]).write_text("", encoding="utf-8")
        # Added to, never written over: at a time limit the watch writes into it as well.
        handlers.append(logging.FileHandler(job.log[0], mode="a", encoding="utf-8"))
        # The terminal belongs to the study's progress; what a job has to say is in its log.
        handlers[0].setLevel(logging.ERROR)
    layout = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(layout)
        root.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    if "SLURM_JOB_ID" in os.environ:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        logger.info("Slurm job %s, GPUs: %s", os.environ["SLURM_JOB_ID"], gpus)
    try:
        for path in _paths(getattr(job, "output", ())):
            remove_leftovers(path)
        with _limited(job):
            main(job)
        _settle_dates(_paths(getattr(job, "input", ())))
    except KeyboardInterrupt:
        logger.error("interrupted")
        sys.exit(130)
    except InputError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception as error:
        short = memory.explain(error)
        if short is not None:
            logger.error("%s", short)
            sys.exit(memory.OUT_OF_MEMORY)
        logger.exception("this job failed; the traceback may help those who mend it")
        sys.exit(1)
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def granted(job: Any, resource: str) -> float:
    """Return what the profile gives a job of a resource that we know; 0 if it says nothing."""
    value = getattr(getattr(job, "resources", None), resource, None)
    return value if isinstance(value, (int, float)) else 0


@contextlib.contextmanager
def _limited(job: Any) -> Iterator[None]:
    """End the job after the time that its profile gives it, if any; its log says where it was."""
    minutes = granted(job, "runtime")
    if not (minutes and job.log):
        yield
        return
    with Path(job.log[0]).open("a", encoding="utf-8") as log:
        # By the C library, whatever Python is doing.
        faulthandler.register(signal.SIGUSR1, file=log)
        try:
            with time_limit(60 * minutes, job.log[0]):
                yield
        finally:
            faulthandler.unregister(signal.SIGUSR1)


def _paths(named: Any) -> Iterator[str]:
    """Return the paths of a job's named files, those of lists included."""
    for found in named if isinstance(named, Iterable) else vars(named).values():
        yield from [found] if isinstance(found, str) else map(str, found)


def _settle_dates(files: Iterable[str]) -> None:
    """Take dates in the future off the results that a job has read: the clock has gone back.

    Snakemake would throw what the job made away, as older than what it was made from. Files from
    outside the folder of results are left as they are.
    """
    now = time.time()
    for path in map(Path, files):
        if path.parts[:1] == ("results",) and path.stat().st_mtime > now:
            os.utime(path, (now, now))
            logger.warning("%s: was dated in the future, and is dated now: the clock moved", path)


def usable_threads(asked: int) -> int:
    """Return `asked`, but no more than the cores this process may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not tell
        cores = os.cpu_count() or 1
    return max(1, min(asked, cores))
