"""What every rule script does around its work: a log file, and errors a user can read."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptycho_torch.config.base import InputError
from ptycho_torch.output_folder import remove_leftovers

logger = logging.getLogger("ptycho_torch")


def run_job(main: Callable[[Any], None], job: Any) -> None:
    """Run `main(job)`, logging to the job's log file and to the terminal's error stream.

    A user's mistake ends the job with one line and exit status 1, Ctrl-C with status 130; anything
    else keeps its traceback, since it is a fault of ours or of the machine. What a killed job left
    of these outputs, half-written under temporary names, is taken away first.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if job.log:
        Path(job.log[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(job.log[0], mode="w", encoding="utf-8"))
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
        for path in getattr(job, "output", ()):
            remove_leftovers(path)
        main(job)
    except KeyboardInterrupt:
        logger.error("interrupted")
        sys.exit(130)
    except InputError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception:
        logger.exception("this job failed; the traceback may help those who mend it")
        sys.exit(1)
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def usable_threads(asked: int) -> int:
    """Return `asked`, but no more than the cores this process may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not tell
        cores = os.cpu_count() or 1
    return max(1, min(asked, cores))
