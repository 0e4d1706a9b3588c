"""What one run of an arm takes: one row of a plan."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.train.cost.base import Base
from ptycho_torch.train.cost.fits import MOST_BLOCKS, largest_batch, largest_depth
from ptycho_torch.train.cost.footprint import Footprint, footprint
from ptycho_torch.train.cost.memory import JobMemory, job_memory
from ptycho_torch.train.cost.probe import Pace, probe
from ptycho_torch.train.cost.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a plan is asked."""

    base: Base
    """What each job takes, whatever its size."""

    gpu: bool
    """Whether runs train on a CUDA GPU."""

    memory_gib: float
    """What has to suffice."""

    probe_steps: int
    """Steps that are timed; 0: no times."""

    largest: bool = True
    """Whether to look for the largest batch and depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run takes."""

    step: Footprint
    memory: JobMemory
    pace: Pace | None
    largest_batch: int | None
    largest_blocks: int | None


def cost_of(run: RunSettings, work: Workload, asked: Question) -> Cost:
    """Count, search and time one run.

    Raises
    ------
    InputError
        If the accelerator is not there.
    """
    step = footprint(run, work, gpu=asked.gpu)
    base = None if asked.gpu else asked.base
    memory = job_memory(step, work, run, base)
    limit = 1024 * asked.memory_gib
    return Cost(
        step=step,
        memory=memory,
        # What does not fit would take the machine down instead of a time.
        pace=(
            probe(run, work, steps=asked.probe_steps)
            if asked.probe_steps and memory.peak <= limit
            else None
        ),
        largest_batch=largest_batch(run, work, limit, base) if asked.largest else None,
        largest_blocks=largest_depth(run, work, limit, base) if asked.largest else None,
    )


def same_cost(run: RunSettings) -> str:
    """Return a text that is equal for runs which differ only in what costs nothing."""
    said = run.model_dump(mode="json", exclude={"arm", "seed"})
    training, execution = said["training"], said["execution"]
    for key in ("epochs", "schedule"):
        del training[key]
    kept = {"name", "momentum"}
    training["optimizer"] = {k: v for k, v in training["optimizer"].items() if k in kept}
    execution["clip"] = execution["clip"]["gradient_clip_algorithm"]
    return json.dumps(said, sort_keys=True)


def fit_s(pace: Pace, work: Workload, *, steps: int, epochs: int) -> float:
    """Return the seconds of a training: so many steps and validations."""
    batches = -(-work.groups["validation"] // EVAL_BATCH)
    return steps * pace.step_s + epochs * batches * pace.validation_s


def run_s(pace: Pace, work: Workload, run: RunSettings, start_s: float) -> float:
    """Return the seconds of a whole job: start, training, and two predictions of the test split."""
    epochs = run.training.epochs
    steps = epochs * work.steps(run.training.batch_size)
    tests = 2 * -(-work.groups["test"] // EVAL_BATCH)
    return start_s + fit_s(pace, work, steps=steps, epochs=epochs) + tests * pace.validation_s


def as_json(run: RunSettings, work: Workload, cost: Cost, start_s: float) -> dict[str, Any]:
    """Return a row of `plan.json`."""
    steps = work.steps(run.training.batch_size)
    seconds: Mapping[str, float] | None = None
    if cost.pace is not None:
        seconds = {
            "step": cost.pace.step_s,
            "validation_batch": cost.pace.validation_s,
            "epoch": fit_s(cost.pace, work, steps=steps, epochs=1),
            "run": run_s(cost.pace, work, run, start_s),
        }
    step = cost.step
    return {
        "dataset": run.dataset,
        "arm": run.arm,
        "generator": run.generator.model_dump(mode="json"),
        "patch_px": run.patch_px,
        "channels": work.channels,
        "batch_size": run.training.batch_size,
        "epochs": run.training.epochs,
        "checkpointing": run.execution.checkpointing,
        "groups": work.groups,
        "steps_per_epoch": steps,
        "parameters": step.parameters,
        "flops_per_step": step.flops,
        "saved_activations_mib": step.saved / 2**20,
        "memory_mib": {**asdict(cost.memory), "peak": cost.memory.peak},
        "seconds": seconds,
        "probe_steps": cost.pace.steps if cost.pace else 0,
        "largest_batch": cost.largest_batch,
        "largest_fno_blocks": cost.largest_blocks,
        "most_fno_blocks": MOST_BLOCKS,
    }
