"""What every rule script does around its work: a log file, a time limit, errors in one line."""

import contextlib
import faulthandler
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ptycho_torch.runtime import memory
from ptycho_torch.runtime.disk import remove_leftovers
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger("ptycho_torch")


def run_job(main: Callable[[Any], None], job: Any) -> None:
    """Run `main(job)`, logging to the job's log file and to the terminal's error stream.

    A user's mistake ends the job with one line and exit status 1, Ctrl-C with status 130, want of
    memory with one line and `memory.OUT_OF_MEMORY`; anything else keeps its traceback. A job that
    its profile gives a `runtime` (minutes) ends after that time, with its stack in the log. What a
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
            short = memory.explain(error)
            if short is not None:
                logger.error("%s", short)
                sys.exit(memory.OUT_OF_MEMORY)
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


def granted(job: Any, resource: str) -> float:
    """Return what the profile gives a job of a resource; 0 if it says nothing."""
    value = getattr(getattr(job, "resources", None), resource, None)
    return value if isinstance(value, (int, float)) else 0


def usable_threads(requested: int) -> int:
    """Return `requested`, but no more than the cores this process may use."""
    told = hasattr(os, "sched_getaffinity")  # macOS and Windows do not tell.
    cores = len(os.sched_getaffinity(0)) if told else os.cpu_count() or 1
    return max(1, min(requested, cores))
