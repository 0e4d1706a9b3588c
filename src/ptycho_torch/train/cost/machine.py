"""The device that a plan is for: its name and its memory."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ptycho_torch.runtime.gpus import choose_device
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.provenance import platform_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a training would run."""

    device: str
    """The GPU's name, or `cpu`."""

    gpu: bool
    """Whether it is a CUDA GPU."""

    threads: int
    """CPU threads of a job."""

    memory_gib: float
    """The GPU's memory, or what main memory is free now; GiB."""

    platform: str
    """Operating system, processor family and number of cores."""


def this_machine(accelerator: str, threads: int) -> Machine:
    """Return the machine that `execution.accelerator` chooses here.

    Raises
    ------
    InputError
        If a device is asked for that is not there.
    """
    gpu = choose_device(accelerator).type == "cuda"
    memory = torch.cuda.get_device_properties(0).total_memory if gpu else free_memory()
    return Machine(
        device=torch.cuda.get_device_name(0) if gpu else "cpu",
        gpu=gpu,
        threads=usable_threads(threads),
        memory_gib=round(memory / 2**30, 2),
        platform=platform_name(),
    )


def free_memory(root: Path = Path("/")) -> int:
    """Return the bytes of main memory that a new process can have; all there are if unknown.

    root: of the files that Linux says it in.
    """
    free = [_available(root / "proc/meminfo"), _left(root / "sys/fs/cgroup")]
    known = [value for value in free if value is not None]
    return min(known) if known else _installed()


def _available(path: Path) -> int | None:
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left(folder: Path) -> int | None:
    """Return what the limit of a container leaves."""
    limit, used = folder / "memory.max", folder / "memory.current"
    if not (limit.exists() and used.exists()) or limit.read_text().strip() == "max":
        return None
    return int(limit.read_text()) - int(used.read_text())


def _installed() -> int:
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
