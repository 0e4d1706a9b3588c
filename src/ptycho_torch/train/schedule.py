"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Iterable
from typing import assert_never

import torch
from torch.nn import Parameter
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from ptycho_torch.config import training as config
from ptycho_torch.config.generator import imported
from ptycho_torch.runtime.errors import InputError


def make_optimizer(
    settings: config.Optimizer,
    parameters: Iterable[Parameter],
    *,
    recorded: bool = False,
) -> Optimizer:
    """Return the optimiser; one fused kernel per step. Where steps are `recorded` as CUDA graphs,
    the rate is a tensor, which a recording reads anew. `InputError` if it is one of a user's own
    that cannot be made of its settings."""
    rate = settings.learning_rate
    if isinstance(settings, config.OwnOptimizer):
        try:
            made: Optimizer = imported(settings.name)(parameters, lr=rate, **settings.settings)
        except (TypeError, ValueError) as error:
            raise InputError(f"training.optimizer: '{settings.name}': {error}") from None
        return made
    lr = torch.tensor(rate, device="cuda") if recorded else rate
    return Adam(parameters, lr=lr, capturable=recorded, fused=True)


def make_schedule(
    settings: config.Schedule, optimizer: Optimizer, *, steps: int, epochs: int
) -> LRScheduler | None:
    """Return the schedule of a run of so many steps, or None for a constant rate; a LambdaLR moves
    after each step, the other after each epoch's validation."""
    match settings:
        case config.ConstantSchedule():
            return None
        case config.WarmupCosineSchedule():
            warmup = settings.warmup_epochs * steps / epochs

            def factor(step: int) -> float:
                if step < warmup:
                    return (step + 1) / (warmup + 1)
                done = min((step - warmup) / max(steps - warmup, 1), 1.0)
                cosine = (1 + math.cos(math.pi * done)) / 2
                return settings.final_fraction + (1 - settings.final_fraction) * cosine

            return LambdaLR(optimizer, factor)
        case config.PlateauSchedule():
            # torch's patience of n lowers after n + 1 bad epochs; ours is the number itself.
            patience = settings.patience_epochs - 1
            return ReduceLROnPlateau(optimizer, factor=settings.factor, patience=patience)
        case _:
            assert_never(settings)
