"""Which device a job computes on, and what it has for itself: a GPU of several, a run's folder.

Snakemake limits how many jobs use a GPU at once but never says which one, and left alone every job
takes the first. Locks are the kernel's and end with the process.
"""

import contextlib
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ptycho_torch.runtime.disk import cannot_be_written
from ptycho_torch.runtime.errors import InputError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextlib.contextmanager
def gpu_lease(accelerator: str, *, devices: int = 1) -> Iterator[str | None]:
    """Make one GPU of several, one with a free place, the only one that CUDA will see.

    To be entered before CUDA starts, best before torch is imported; where this user's jobs
    outnumber the GPUs, they share. Yields the GPU's index as `nvidia-smi` counts; None where there
    is nothing to choose: no GPU or one, CUDA_VISIBLE_DEVICES set by Slurm or the user, or a run
    that says `cpu` or `mps`, or wants several devices, which takes the first ones.
    """
    chosen = accelerator in ("cpu", "mps") or devices > 1 or VISIBLE in os.environ
    gpus = [] if chosen else _installed_gpus()
    if len(gpus) < 2:
        yield None
        return
    lock, gpu = _free_place(gpus)
    logger.info("GPU %s of %s", gpu, ", ".join(gpus))
    # Without the order, CUDA counts the fastest GPU first and nvidia-smi by place.
    os.environ |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: gpu}
    try:
        yield gpu
    finally:
        lock.release()
        del os.environ["CUDA_DEVICE_ORDER"], os.environ[VISIBLE]


def has_gpu() -> bool:
    """Whether this machine has a GPU that torch may compute on, without torch: NVIDIA's or Apple's.

    CUDA_VISIBLE_DEVICES set to nothing hides what there is.
    """
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return os.environ.get(VISIBLE, "all") not in ("", "-1") and Path("/dev/nvidiactl").exists()


def choose_device(accelerator: str) -> "torch.device":
    """Return the device that `accelerator` names, or `InputError` if it is not there; auto: the
    fastest there is, which is logged."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    gpu = "cuda" if cuda else "mps"
    found = {"gpu": gpu, "auto": gpu if cuda or mps else "cpu"}.get(accelerator, accelerator)
    if found == "mps" and not mps:
        what = f"execution.accelerator '{accelerator}': torch {torch.__version__} finds no such"
        raise InputError(f"{what} device here; set it to auto or cpu")
    if accelerator == "auto":
        other = " (torch finds no GPU here)" if found == "cpu" else ""
        logger.info("accelerator auto: computing on %s%s", found, other)
    return torch.device(found)


def _installed_gpus() -> list[str]:
    """Return the indices of this machine's NVIDIA GPUs, by its driver's own program."""
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in output.stdout.splitlines() if line.strip().isdigit()]


def _free_place(gpus: list[str]) -> tuple[FileLock, str]:
    """Return a lock that is held, and its GPU: first places are tried, then second ones, and on."""
    folder = Path(tempfile.gettempdir()) / f"ptycho-torch-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    places = ((FileLock(folder / f"gpu{gpu}-{n}.lock"), gpu) for n in count() for gpu in gpus)
    for place in places:
        with contextlib.suppress(Timeout):
            place[0].acquire(timeout=0)
            break
    return place


@contextlib.contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder, made if missing; wait for another job that holds it. The lock
    file goes with the block, and so does a folder that it leaves empty.

    Raises `InputError` if the folder may not be written.
    """
    path = Path(folder) / ".training.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("%s: another job is at work on this run; waiting for its end", folder)
        lock.acquire()
    except OSError as error:
        raise cannot_be_written(path, error) from None
    try:
        yield
    finally:
        # While it is held: whoever waits finds that the file is no longer in place.
        path.unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            path.parent.rmdir()
