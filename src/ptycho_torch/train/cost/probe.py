"""How long a step takes on this device: a few steps of the real training, on made-up data."""

import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.train.cost.workload import Workload, made_up_groups, made_up_module
from ptycho_torch.train.fit import fit

WARM_UP = 2
"""Steps that are not counted: the first ones fill caches and choose algorithms."""

_STILL = 1e-12
"""Learning rate of a probe: its data are noise, and weights that wander off would end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds on one device."""

    step_s: float
    """A training step, the median of `steps`."""

    validation_s: float
    """A batch of validation."""

    steps: int
    """Steps that were counted."""


def probe(run: RunSettings, work: Workload, *, steps: int) -> Pace:
    """Train for some steps on noise and time them; nothing is written.

    Raises
    ------
    InputError
        If the accelerator is not there.
    """
    torch.set_num_threads(usable_threads(run.execution.threads))
    still = run.training.optimizer.model_copy(update={"learning_rate": _STILL})
    short = run.training.model_copy(update={"epochs": 1, "optimizer": still})
    module = made_up_module(run.model_copy(update={"training": short}), work)
    train = made_up_groups(work, (WARM_UP + steps) * run.training.batch_size)
    checks = made_up_groups(work, min(EVAL_BATCH, work.groups["validation"]))
    ends: list[float] = []

    def note(*_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    with _silent_training():
        hook = register_optimizer_step_post_hook(note)
        try:
            fitted = fit(module, train, checks)
            note()
        finally:
            hook.remove()
    if len(ends) < WARM_UP + steps:
        # Steps that were recorded and are replayed call no hooks.
        each = fitted.wall_s / (WARM_UP + steps)
        return Pace(step_s=each, validation_s=each, steps=WARM_UP + steps)
    took = [after - before for before, after in pairwise(ends)]
    return Pace(
        step_s=statistics.median(took[WARM_UP - 1 : -1]),
        validation_s=took[-1],
        steps=steps,
    )


@contextmanager
def _silent_training() -> Iterator[None]:
    """Keep what the training has to say of made-up data to itself."""
    logger = logging.getLogger("ptycho_torch.train")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
