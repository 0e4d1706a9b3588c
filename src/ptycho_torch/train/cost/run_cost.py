"""What one run of an arm takes on this machine."""

import logging
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.config.training import ExecutionSettings, NoClip, RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import platform_name
from ptycho_torch.train.cost.footprint import (
    MIB,
    Workload,
    footprint,
    job_memory,
    made_up_groups,
    made_up_module,
)
from ptycho_torch.train.schedule import make_optimizer

logger = logging.getLogger(__name__)

Row = dict[str, Any]
WARM_UP = 2
"""Steps that are not timed: the first ones fill caches and choose algorithms."""
MOST_BLOCKS = 64
"""Deeper networks are not tried."""

_COSTS_NOTHING: dict[str, Any] = {
    **{"arm": True, "seed": True},
    "training": {
        **{"epochs": True, "schedule": True},
        "optimizer": {"learning_rate", "beta1", "beta2", "weight_decay"},
    },
    "execution": {"clip": {"max_norm", "max_value", "max_ratio", "min_weight_norm"}},
}
_NOT_COUNTED = {
    "precision": " bf16: memory is counted in float32; time is as probed.",
    "compile": ": memory and time are those of the network uncompiled.",
    "cuda_graphs": ": what the recordings keep, and save, on the GPU is not counted.",
}


def not_counted(runs: Iterable[RunSettings]) -> list[str]:
    """Return a sentence for each setting of these runs whose effect an estimate leaves out."""
    used = [run.execution for run in runs]
    return [
        f"execution.{key}{text}"
        for key, text in _NOT_COUNTED.items()
        if any(getattr(execution, key) in (True, "bf16") for execution in used)
    ]


class Estimator:
    """Estimates runs on this machine; those that take the same are looked at once.

    facts: what the estimates hold for; accelerator, threads: as in `execution`; memory_gib: what
    has to suffice (None: what the machine has); probe_steps: steps that are timed; largest: whether
    to look for the largest batch and depth.

    Raises
    ------
    InputError
        If the accelerator is not there.
    """

    def __init__(
        self,
        accelerator: str,
        threads: int,
        memory_gib: float | None,
        probe_steps: int,
        *,
        largest: bool,
    ) -> None:
        self.gpu, self.largest = choose_device(accelerator).type == "cuda", largest
        free = torch.cuda.get_device_properties(0).total_memory if self.gpu else free_memory()
        machine = {
            "device": torch.cuda.get_device_name(0) if self.gpu else "cpu",
            "gpu": self.gpu,
            "threads": usable_threads(threads),
            "memory_gib": round(free / 2**30, 2),
            "platform": platform_name(),
        }
        self.facts: Row = {
            "machine": machine,
            "base": measure_base(),
            "memory_gib": memory_gib or machine["memory_gib"],
            "probe_steps": probe_steps,
        }
        self._known: dict[str, Row] = {}

    def cost(self, run: RunSettings, work: Workload) -> Row:
        """Return parameters, operations, memory, seconds of a step, largest batch and depth."""
        key = f"{run.model_dump(exclude=_COSTS_NOTHING)} {work}"
        if key not in self._known:
            logger.info("%s on %s ...", run.arm, run.dataset)
            self._known[key] = self._cost(run, work)
        return self._known[key]

    def _cost(self, run: RunSettings, work: Workload) -> Row:
        base = None if self.gpu else self.facts["base"]["memory_mib"]
        limit = 1024 * self.facts["memory_gib"]

        def peak(block: str, **change: int) -> float:
            changed = {block: getattr(run, block).model_copy(update=change)}
            return job_memory(footprint(run.model_copy(update=changed), work), work, base)["peak"]

        step = footprint(run, work)
        memory = job_memory(step, work, base)
        # What does not fit would take the machine down instead of a time.
        steps = self.facts["probe_steps"] if memory["peak"] <= limit else 0
        batch = blocks = None
        if self.largest:
            batch = largest(
                lambda n: peak("training", batch_size=n), limit, range(1, work.groups["train"] + 1)
            )
            every = range(run.generator.levels or 1, MOST_BLOCKS + 1)
            blocks = largest(lambda n: peak("generator", fno_blocks=n), limit, every)
        return {
            "parameters": step.parameters,
            "flops_per_step": step.flops,
            "saved_activations_mib": step.saved / MIB,
            "memory_mib": memory,
            "seconds": probe(run, work, steps=steps) if steps else None,
            "probe_steps": steps,
            "largest_batch": batch,
            "largest_fno_blocks": blocks,
            "most_fno_blocks": MOST_BLOCKS,
        }

    def row(self, run: RunSettings, work: Workload) -> Row:
        """Return a run's settings and cost, with the seconds of an epoch and of the whole job:
        start, training, and two predictions of the test split."""
        cost, epochs, batch = self.cost(run, work), run.training.epochs, run.training.batch_size
        steps, seconds = work.groups["train"] // batch, cost["seconds"]
        if seconds is not None:
            tests = 2 * -(-work.groups["test"] // EVAL_BATCH) * seconds["validation_batch"]
            training = fit_s(seconds, work, steps=epochs * steps, epochs=epochs)
            seconds = {
                **seconds,
                "epoch": fit_s(seconds, work, steps=steps, epochs=1),
                "run": self.facts["base"]["start_s"] + training + tests,
            }
        return {
            "dataset": run.dataset,
            "arm": run.arm,
            "generator": run.generator.model_dump(mode="json"),
            "patch_px": run.patch_px,
            "channels": work.channels,
            "batch_size": batch,
            "epochs": epochs,
            "checkpointing": run.execution.checkpointing,
            "groups": work.groups,
            "steps_per_epoch": steps,
            **cost,
            "seconds": seconds,
        }


def largest(peak: Callable[[int], float], limit: float, numbers: range) -> int:
    """Return the largest number whose peak, which must not fall as the number grows, is within the
    limit; else 0."""
    fitting = bisect_right(numbers, limit, key=peak)
    return numbers[fitting - 1] if fitting else 0


def fit_s(seconds: dict[str, float], work: Workload, *, steps: int, epochs: int) -> float:
    """Return the seconds of a training: so many steps, and a validation after each epoch."""
    batches = -(-work.groups["validation"] // EVAL_BATCH)
    return steps * seconds["step"] + epochs * batches * seconds["validation_batch"]


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
    """Return what each training job takes, whatever its size, as the smallest one takes here, in a
    process that has done nothing else yet: its largest `memory_mib`, and CPU seconds `start_s`."""
    settings = FitSettings(
        name="smallest",
        generator=GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4),
        execution=ExecutionSettings(accelerator="cpu", clip=NoClip(gradient_clip_algorithm="none")),
    )
    groups = {"train": 8, "validation": 4, "test": 4}
    probe(settings.run(16), Workload(patch_px=16, channels=1, groups=groups, reach_px=0), steps=1)
    return {"memory_mib": process_peak() / MIB, "start_s": time.process_time()}


def probe(run: RunSettings, work: Workload, *, steps: int) -> dict[str, float]:
    """Return seconds of a `step`, the median of some on noise, and of a `validation_batch`."""
    torch.set_num_threads(usable_threads(run.execution.threads))
    device = choose_device(run.execution.accelerator)
    module = made_up_module(run, work).to(device)
    sizes = run.training.batch_size, min(EVAL_BATCH, work.groups["validation"])
    batch, checks = (made_up_groups(work, n).to(device).take(slice(None)) for n in sizes)
    optimizer = make_optimizer(run.training.optimizer, module.parameters())

    def step() -> None:
        optimizer.zero_grad()
        module.training_loss(batch).backward()
        if not isinstance(run.execution.clip, NoClip):
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
