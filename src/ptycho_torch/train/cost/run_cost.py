"""What one run of an arm takes: one row of a cost estimate."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from ptycho_torch.config.generator import plan_levels
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.train.cost.count import MIB, Footprint, footprint, job_memory
from ptycho_torch.train.cost.measure import measure_base, probe, this_machine
from ptycho_torch.train.cost.workload import Workload

logger = logging.getLogger(__name__)

Row = dict[str, Any]
_COSTS_NOTHING: dict[str, Any] = {
    "arm": True,
    "seed": True,
    "training": {
        "epochs": True,
        "schedule": True,
        "optimizer": {"learning_rate", "beta1", "beta2", "weight_decay"},
    },
    "execution": {"clip": {"max_norm", "max_value", "max_ratio", "min_weight_norm"}},
}
MOST_BLOCKS = 64
"""Deeper networks are not tried."""


class Estimator:
    """Estimates runs on this machine; those that take the same are looked at once.

    facts: what the estimates hold for: `machine`, `base`, `memory_gib`, `probe_steps`.

    Parameters
    ----------
    accelerator, threads
        As in `execution`.
    memory_gib
        What has to suffice; None: what the machine has.
    probe_steps
        Steps that are timed; 0: no times.
    largest
        Whether to look for the largest batch and depth.

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
        machine, self.base = this_machine(accelerator, threads), measure_base()
        self.gpu, self.largest, self.probe_steps = machine["gpu"], largest, probe_steps
        self.limit_mib = 1024 * (memory_gib or machine["memory_gib"])
        self.facts: Row = {
            "machine": machine,
            "base": self.base,
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
        step = footprint(run, work)
        memory = self._memory(step, work)
        # What does not fit would take the machine down instead of a time.
        timed = self.probe_steps and memory["peak"] <= self.limit_mib
        batch, blocks = self._largest(run, work) if self.largest else (None, None)
        return {
            "parameters": step.parameters,
            "flops_per_step": step.flops,
            "saved_activations_mib": step.saved / MIB,
            "memory_mib": memory,
            "seconds": probe(run, work, steps=self.probe_steps) if timed else None,
            "probe_steps": self.probe_steps if timed else 0,
            "largest_batch": batch,
            "largest_fno_blocks": blocks,
            "most_fno_blocks": MOST_BLOCKS,
        }

    def _memory(self, step: Footprint, work: Workload) -> dict[str, float]:
        return job_memory(step, work, None if self.gpu else self.base["memory_mib"])

    def _largest(self, run: RunSettings, work: Workload) -> tuple[int, int]:
        """Return the most groups a step and the most Fourier blocks that fit; 0 if none do."""

        def peak(block: str, key: str, value: int) -> float:
            changed = getattr(run, block).model_copy(update={key: value})
            if block == "generator":
                plan_levels(changed, run.patch_px)
            step = footprint(run.model_copy(update={block: changed}), work)
            return self._memory(step, work)["peak"]

        limit = self.limit_mib
        batch = largest(lambda n: peak("training", "batch_size", n), limit, work.groups["train"])
        least = run.generator.levels or 1
        blocks = largest(
            lambda n: peak("generator", "fno_blocks", n), limit, MOST_BLOCKS, least=least
        )
        return batch, blocks

    def row(self, run: RunSettings, work: Workload) -> Row:
        """Return a run's settings and cost, with the seconds of an epoch and of the whole job:
        start, training, and two predictions of the test split."""
        cost, epochs = self.cost(run, work), run.training.epochs
        steps = work.steps(run.training.batch_size)
        seconds = cost["seconds"]
        if seconds is not None:
            tests = 2 * -(-work.groups["test"] // EVAL_BATCH) * seconds["validation_batch"]
            training = fit_s(seconds, work, steps=epochs * steps, epochs=epochs)
            epoch = fit_s(seconds, work, steps=steps, epochs=1)
            whole = self.base["start_s"] + training + tests
            seconds = {**seconds, "epoch": epoch, "run": whole}
        return {
            "dataset": run.dataset,
            "arm": run.arm,
            "generator": run.generator.model_dump(mode="json"),
            "patch_px": run.patch_px,
            "channels": work.channels,
            "batch_size": run.training.batch_size,
            "epochs": epochs,
            "checkpointing": run.execution.checkpointing,
            "groups": work.groups,
            "steps_per_epoch": steps,
            **cost,
            "seconds": seconds,
        }


def largest(peak: Callable[[int], float], limit: float, most: int, *, least: int = 1) -> int:
    """Return the largest number from `least` to `most` whose peak is within the limit; else 0.

    The peak must not fall as the number grows.
    """
    fitting = bisect_right(range(least, most + 1), limit, key=peak)
    return least + fitting - 1 if fitting else 0


def fit_s(seconds: dict[str, float], work: Workload, *, steps: int, epochs: int) -> float:
    """Return the seconds of a training: so many steps, and a validation after each epoch."""
    batches = -(-work.groups["validation"] // EVAL_BATCH)
    return steps * seconds["step"] + epochs * batches * seconds["validation_batch"]


_LEFT_OUT = {
    "precision": " bf16: memory is counted in float32; time is as probed.",
    "compile": ": memory and time are those of the network uncompiled.",
    "cuda_graphs": ": what the recordings keep, and save, on the GPU is not counted.",
}


def not_counted(runs: Iterable[RunSettings]) -> list[str]:
    """Return a sentence for each setting of these runs whose effect an estimate leaves out."""
    used = {
        key for run in runs for key in _LEFT_OUT if getattr(run.execution, key) in (True, "bf16")
    }
    return [f"execution.{key}{_LEFT_OUT[key]}" for key in _LEFT_OUT if key in used]
