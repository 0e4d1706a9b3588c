"""Optimisers and learning-rate schedules by name, in the form Lightning steps by itself."""

import math
from collections.abc import Iterable
from typing import Any, assert_never

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau

from ptycho_torch.config.training import (
    SGD,
    Adam,
    AdamW,
    ConstantSchedule,
    ExponentialSchedule,
    PlateauSchedule,
    Schedule,
    WarmupCosineSchedule,
)


def make_optimizer(settings: Adam | AdamW | SGD, parameters: Iterable[Parameter]) -> Optimizer:
    """Return the optimiser; one fused kernel per step where torch has it."""
    match settings:
        case AdamW():  # before Adam, of which it is a kind
            return torch.optim.AdamW(
                parameters,
                lr=settings.learning_rate,
                betas=(settings.beta1, settings.beta2),
                weight_decay=settings.weight_decay,
                fused=True,
            )
        case Adam():
            betas = (settings.beta1, settings.beta2)
            return torch.optim.Adam(parameters, lr=settings.learning_rate, betas=betas, fused=True)
        case SGD():
            return torch.optim.SGD(
                parameters, lr=settings.learning_rate, momentum=settings.momentum, fused=True
            )
        case _:
            assert_never(settings)


def make_schedule(
    settings: Schedule, optimizer: Optimizer, *, total_steps: int, epochs: int, monitor: str
) -> dict[str, Any] | None:
    """Return Lightning's `lr_scheduler` block, or None for a constant rate.

    Parameters
    ----------
    total_steps, epochs
        Length of the run, for the warm-up and the cosine.
    monitor
        Name of the validation loss that the plateau schedule watches.
    """
    match settings:
        case ConstantSchedule():
            return None
        case WarmupCosineSchedule():
            warmup = settings.warmup_epochs * total_steps / epochs

            def factor(step: int) -> float:
                if step < warmup:
                    return (step + 1) / (warmup + 1)
                done = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
                cosine = (1 + math.cos(math.pi * done)) / 2
                return settings.final_fraction + (1 - settings.final_fraction) * cosine

            return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        case ExponentialSchedule():
            scheduler = ExponentialLR(optimizer, settings.gamma)
            return {"scheduler": scheduler, "interval": "epoch"}
        case PlateauSchedule():
            # Lightning's patience of n lowers after n + 1 bad epochs; ours is the number itself.
            plateau = ReduceLROnPlateau(
                optimizer, factor=settings.factor, patience=settings.patience_epochs - 1
            )
            return {"scheduler": plateau, "interval": "epoch", "monitor": monitor}
        case _:
            assert_never(settings)
