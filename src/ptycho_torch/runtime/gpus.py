"""Which device a job computes on; of several GPUs which one: a lease by file lock, without torch.

Snakemake limits how many jobs use a GPU at once (`--resources gpu=N`) but never says which one,
and left alone every job takes the first.
"""

import contextlib
import fcntl
import logging
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_torch.runtime.errors import InputError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextlib.contextmanager
def gpu_lease(accelerator: str) -> Iterator[str | None]:
    """Make the GPU that the fewest of this user's jobs use the only one that CUDA will see.

    The lease ends with the block or, being a lock of the kernel's, with the process however it
    dies. Where jobs outnumber GPUs, they share. To be entered before CUDA starts, best before
    torch is imported.

    Parameters
    ----------
    accelerator
        `execution.accelerator` of the run; `cpu` and `mps` lease nothing.

    Yields
    ------
    str or None
        The GPU's index as `nvidia-smi` counts; None where there is nothing to choose: no GPU or
        one, or CUDA_VISIBLE_DEVICES was set by Slurm or the user, whose word stands.

    Raises
    ------
    InputError
        If the folder of the locks is not this user's alone.
    """
    if accelerator in ("cpu", "mps"):
        yield None
        return
    if VISIBLE in os.environ:
        logger.info("GPU: %s=%s was set before this job", VISIBLE, os.environ[VISIBLE])
        yield None
        return
    gpus = installed_gpus()
    if len(gpus) < 2:
        yield None
        return
    lock, gpu, others = _take(_lock_folder(), gpus)
    logger.info("GPU %s of %s, used by %d other jobs of ours", gpu, ", ".join(gpus), others)
    # Without the order, CUDA counts the fastest GPU first and nvidia-smi by place.
    before = {name: os.environ.get(name) for name in ("CUDA_DEVICE_ORDER", VISIBLE)}
    os.environ |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: gpu}
    try:
        yield gpu
    finally:
        os.close(lock)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def choose_device(accelerator: str) -> "torch.device":
    """Return the device that `accelerator` names; auto: the fastest there is, which is said.

    Raises
    ------
    InputError
        If a device is asked for that is not there.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    fastest = "cuda" if cuda else "mps" if mps else "cpu"
    found = {"gpu": "cuda" if cuda else "mps", "mps": "mps", "cpu": "cpu"}.get(accelerator, fastest)
    if found == "mps" and not mps:
        raise InputError(
            f"execution.accelerator '{accelerator}': torch {torch.__version__} finds no such "
            "device here; set it to auto or cpu"
        )
    if accelerator == "auto":
        other = " (torch finds no GPU here)" if found == "cpu" else ""
        logger.info("accelerator auto: computing on %s%s", found, other)
    return torch.device(found)


def installed_gpus() -> list[str]:
    """Return the indices of this machine's NVIDIA GPUs, as its driver's own program tells."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    except FileNotFoundError:
        return []
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi does not tell of any GPU (%s); none is chosen", error)
        return []
    return [line.strip() for line in told.splitlines() if line.strip().isdigit()]


def _lock_folder() -> Path:
    """Return this user's folder of locks on this machine; made if missing."""
    folder = Path(tempfile.gettempdir()) / f"ptycho-torch-gpus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # The folder for temporary files is open to all: what stands there may be anybody's.
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise InputError(
            f"{folder}: expected a folder of this user's with mode 700, got "
            f"{stat.filemode(facts.st_mode)} of user {facts.st_uid}; remove it, or say which "
            f"GPU to use: {VISIBLE}=0"
        )
    return folder


def _take(folder: Path, gpus: list[str]) -> tuple[int, str, int]:
    """Return the descriptor of a lock, its GPU, and how many others hold one of that GPU's.

    A GPU's n-th job holds `gpu<index>-<n>.lock`. One job chooses at a time, or two would count
    the same and choose alike. Going by the first free file alone would put two jobs on one GPU
    beside an idle one, after an earlier job has ended before a later one.
    """
    with contextlib.ExitStack() as choosing:
        door = _open(folder / "choose.lock")
        choosing.callback(os.close, door)
        fcntl.flock(door, fcntl.LOCK_EX)
        jobs = {gpu: sum(map(_is_held, folder.glob(f"gpu{gpu}-*.lock"))) for gpu in gpus}
        gpu = min(gpus, key=jobs.__getitem__)
        for place in count():
            lock = _open(folder / f"gpu{gpu}-{place}.lock")
            if _locked(lock):
                return lock, gpu, jobs[gpu]
            os.close(lock)
    raise AssertionError("unreachable: some place is free")


def _is_held(path: Path) -> bool:
    lock = _open(path)
    try:
        return not _locked(lock)
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _locked(lock: int) -> bool:
    """Lock a file without waiting; return whether that worked."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
