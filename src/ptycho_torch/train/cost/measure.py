"""What is measured on this machine: its memory, what any job takes, how long a step takes."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from ptycho_torch.config.training import NoClip, RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.runtime.gpus import choose_device
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import platform_name
from ptycho_torch.train.cost.count import MIB
from ptycho_torch.train.cost.workload import Workload, made_up_groups, made_up_module
from ptycho_torch.train.schedule import make_optimizer

WARM_UP = 2
"""Steps that are not counted: the first ones fill caches and choose algorithms."""

_SMALLEST = {
    **{"dataset": "none", "patch_px": 16, "arm": "none", "seed": 0},
    "generator": {"name": "hybrid", "width": 4, "fno_blocks": 2, "modes": 4},
    "training": {
        **{"epochs": 1, "batch_size": 4, "loss": "mae", "schedule": {"name": "constant"}},
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
    },
    "execution": {"accelerator": "cpu", "clip": {"gradient_clip_algorithm": "none"}},
}


def this_machine(accelerator: str, threads: int) -> dict[str, Any]:
    """Return the machine that `execution.accelerator` chooses here: `device`, `gpu`, `threads`,
    `memory_gib` (the GPU's, or what main memory is free now), `platform`.

    Raises
    ------
    InputError
        If a requested device is not there.
    """
    gpu = choose_device(accelerator).type == "cuda"
    memory = torch.cuda.get_device_properties(0).total_memory if gpu else free_memory()
    return {
        "device": torch.cuda.get_device_name(0) if gpu else "cpu",
        "gpu": gpu,
        "threads": usable_threads(threads),
        "memory_gib": round(memory / 2**30, 2),
        "platform": platform_name(),
    }


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of main memory that a new process can have here, or in a container."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # No such files, or a limit of "max".
        return free


def measure_base() -> dict[str, float]:
    """Return what each training job takes, whatever its size, as the smallest one takes here.

    `memory_mib`: the process's largest; `start_s`: CPU seconds up to the end of it. To be called
    before this process has done more.
    """
    groups = {"train": 8, "validation": 4, "test": 4}
    work = Workload(patch_px=16, channels=1, groups=groups, reach_px=0)
    probe(RunSettings.model_validate(_SMALLEST), work, steps=1)
    return {"memory_mib": process_peak() / MIB, "start_s": time.process_time()}


def probe(run: RunSettings, work: Workload, *, steps: int) -> dict[str, float]:
    """Return seconds of a `step`, the median of some on noise, and of a `validation_batch`.

    Raises
    ------
    InputError
        If the accelerator is not there.
    """
    torch.set_num_threads(usable_threads(run.execution.threads))
    device = choose_device(run.execution.accelerator)
    module = made_up_module(run, work).to(device)
    batch = made_up_groups(work, run.training.batch_size).to(device).take(slice(None))
    few = min(EVAL_BATCH, work.groups["validation"])
    checks = made_up_groups(work, few).to(device).take(slice(None))
    optimizer = make_optimizer(run.training.optimizer, module.parameters())
    clips = not isinstance(run.execution.clip, NoClip)

    def step() -> None:
        optimizer.zero_grad()
        module.training_loss(batch).backward()
        if clips:
            clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    took = [_seconds(step) for _ in range(WARM_UP + steps)][WARM_UP:]
    module.eval()
    with torch.no_grad():
        checked = _seconds(lambda: module.validation_losses(checks))
    return {"step": statistics.median(took), "validation_batch": checked}


def _seconds(program: Callable[[], object]) -> float:
    began = time.perf_counter()
    program()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
