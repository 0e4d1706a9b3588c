"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, LRScheduler, ReduceLROnPlateau

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


def make_optimizer(
    settings: Adam | AdamW | SGD, parameters: Iterable[Parameter], *, recorded: bool = False
) -> Optimizer:
    """Return the optimiser; one fused kernel per step.

    recorded: whether its steps will be recorded as CUDA graphs. The rate is a tensor then, which
    a recording reads anew.
    """
    rate = settings.learning_rate
    lr = torch.tensor(rate, device="cuda") if recorded else rate
    match settings:
        case AdamW():  # before Adam, of which it is a kind
            return torch.optim.AdamW(
                parameters,
                lr=lr,
                betas=(settings.beta1, settings.beta2),
                weight_decay=settings.weight_decay,
                fused=True,
                capturable=recorded,
            )
        case Adam():
            betas = (settings.beta1, settings.beta2)
            return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True, capturable=recorded)
        case SGD():
            return torch.optim.SGD(parameters, lr=lr, momentum=settings.momentum, fused=True)
        case _:
            assert_never(settings)


@dataclass(frozen=True, slots=True)
class SteppedSchedule:
    """A learning-rate schedule and when it moves."""

    scheduler: LRScheduler
    every_step: bool
    """Moves after each step; else after each epoch's validation."""
    monitored: bool = False
    """Needs the validation loss that the run is judged by."""

    def end_step(self) -> None:
        """A step has been taken."""
        if self.every_step:
            self.scheduler.step()

    def end_epoch(self, val_loss: float) -> None:
        """An epoch has been validated."""
        if self.monitored:
            self.scheduler.step(val_loss)  # type: ignore[arg-type]
        elif not self.every_step:
            self.scheduler.step()


def make_schedule(
    settings: Schedule, optimizer: Optimizer, *, total_steps: int, epochs: int
) -> SteppedSchedule | None:
    """Return the schedule of a run, or None for a constant rate.

    Parameters
    ----------
    total_steps, epochs
        Length of the run, for the warm-up and the cosine.
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

            return SteppedSchedule(LambdaLR(optimizer, factor), every_step=True)
        case ExponentialSchedule():
            return SteppedSchedule(ExponentialLR(optimizer, settings.gamma), every_step=False)
        case PlateauSchedule():
            # torch's patience of n lowers after n + 1 bad epochs; ours is the number itself.
            plateau = ReduceLROnPlateau(
                optimizer, factor=settings.factor, patience=settings.patience_epochs - 1
            )
            return SteppedSchedule(plateau, every_step=False, monitored=True)
        case _:
            assert_never(settings)
