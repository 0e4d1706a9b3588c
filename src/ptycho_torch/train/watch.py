"""The guard against bad steps and the record of all steps, kept on the device.

Nothing here waits for the device until `read`: each step writes a row, and a step that goes bad
raises the flag `dead`, by which the optimiser leaves the weights as they were before that step and
in every step after it. So the loop may look only every few steps and still tell the step of
failure and keep the weights of the step before.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ptycho_torch.config.training import TrainingSettings
from ptycho_torch.train.clip import ClipReport

READ_EVERY = 16
"""Steps between two looks at what the device has recorded."""

_LOSS, _BEFORE, _AFTER, _CLIPPED, _SPECTRAL, _LOCAL, _SPIKE, _STOP = range(8)
"""Columns of a row; `_SPECTRAL` and `_LOCAL` are mean gradient moduli, NaN where none was taken."""

_FINE, _BAD_LOSS, _EXPLODED, _BAD_GRADIENT = range(4)
"""What `_STOP` says."""


@dataclass(frozen=True, slots=True)
class RunStopped:
    """Why a run ended before its last epoch: a result, not an error.

    outcome: `non_finite`, `exploded` or `collapsed`; epoch and step count from 1; reason in words.
    """

    outcome: str
    epoch: int
    step: int
    reason: str

    @property
    def failure(self) -> dict[str, object]:
        """As in `run.json`."""
        return {"epoch": self.epoch, "step": self.step, "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.outcome} in epoch {self.epoch}, step {self.step}: {self.reason}"


@dataclass(slots=True)
class StepRecords:
    """What the optimiser steps of an epoch had: losses, gradient norms, clipped parts."""

    losses: list[float] = field(default_factory=list)
    norms_before: list[float] = field(default_factory=list)
    norms_after: list[float] = field(default_factory=list)
    gradient_ratios: list[float] = field(default_factory=list)
    parts: int = 0
    clipped: int = 0

    @property
    def clipped_share(self) -> float:
        """Clipped parts over all parts; 0 without clipping."""
        return self.clipped / self.parts if self.parts else 0.0


class Watch:
    """Watches one run's steps.

    Parameters
    ----------
    training
        `explode_factor` and `explode_patience_steps`.
    device
        Where the steps are taken.
    steps_per_epoch
        To tell an epoch by its step.
    """

    def __init__(
        self, training: TrainingSettings, device: torch.device, *, steps_per_epoch: int
    ) -> None:
        self.factor = training.explode_factor
        self.patience = training.explode_patience_steps
        self.dead = torch.zeros((), device=device)
        self.records = StepRecords()
        self.first_loss: float | None = None
        self.spikes = 0
        self.steps = 0
        """Steps in which the optimiser moved, as far as they have been read."""
        self._per_epoch = steps_per_epoch
        self._parts = 0
        self._first = torch.full((), math.nan, device=device)
        self._in_a_row = torch.zeros((), device=device)
        # In double, which holds every count; Apple's GPUs have none.
        kind = torch.float32 if device.type == "mps" else torch.float64
        self._rows = torch.zeros(READ_EVERY, 8, dtype=kind, device=device)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        self._absent = torch.full((), math.nan, device=device)

    def judge(self, loss: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
        """Look at a step before the optimiser moves; from a bad one on `dead` is 1.

        Returns
        -------
        spike, stop
            For `note`.
        """
        loss = loss.detach()
        # Kept in place, so that a step recorded as a CUDA graph finds them where they were.
        self._first.copy_(torch.where(self._first.isnan(), loss, self._first))
        spike = loss > self.factor * self._first.abs()
        self._in_a_row.copy_(torch.where(spike, self._in_a_row + 1, 0.0))
        stop = torch.where(self._in_a_row >= self.patience, float(_EXPLODED), float(_FINE))
        bad_gradient = ~norm.isfinite() & (stop == _FINE)
        stop = torch.where(bad_gradient, float(_BAD_GRADIENT), stop)
        stop = torch.where(loss.isfinite(), stop, float(_BAD_LOSS))
        self.dead.copy_(torch.maximum(self.dead, (stop != _FINE).float()))
        return spike.float(), stop

    def note(
        self,
        loss: Tensor,
        norm: Tensor,
        report: ClipReport,
        verdict: tuple[Tensor, Tensor],
        moduli: Tensor | None,
    ) -> None:
        """Write a step's row: loss, gradient norm before clipping, what clipping did, `judge`'s
        verdict, and mean moduli of spectral and local gradients if they were taken."""
        two = (self._absent, self._absent) if moduli is None else moduli.unbind()
        row = (loss.detach(), norm, report.norm, report.clipped, *two, *verdict)
        values = torch.stack([value.to(self._rows.dtype) for value in row])
        self._rows.index_copy_(0, self._at, values[None])
        self._at += 1
        self._parts = report.parts

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on; to be asked for at an epoch's end."""
        return {
            "first_loss": self.first_loss,
            "spikes": self.spikes,
            "steps": self.steps,
            "first": self._first.clone(),
            "in_a_row": self._in_a_row.clone(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.first_loss, self.spikes = state["first_loss"], state["spikes"]
        self.steps = state["steps"]
        self._first.copy_(state["first"])
        self._in_a_row.copy_(state["in_a_row"])

    def read(self) -> RunStopped | None:
        """Take over the rows since the last look, at most `READ_EVERY`; say whether the run is
        over. Waits for the device."""
        rows = self._rows[: int(self._at)].tolist()
        self._at.zero_()
        for row in rows:
            stopped = self._take(row)
            if stopped is not None:
                return stopped
        return None

    def _take(self, row: list[float]) -> RunStopped | None:
        loss, stop = row[_LOSS], row[_STOP]
        if stop == _BAD_LOSS:
            return self.stopped("non_finite", f"the training loss is {loss}")
        if self.first_loss is None:
            self.first_loss = loss
        self.spikes += int(row[_SPIKE])
        if stop == _EXPLODED:
            return self._exploded(loss, self.first_loss)
        self.records.losses.append(loss)
        if stop == _BAD_GRADIENT:
            return self.stopped("non_finite", f"the gradient's norm is {row[_BEFORE]}")
        self.records.norms_before.append(row[_BEFORE])
        self.records.norms_after.append(row[_AFTER])
        self.records.clipped += int(row[_CLIPPED])
        self.records.parts += self._parts
        if row[_LOCAL] > 0:
            self.records.gradient_ratios.append(row[_SPECTRAL] / row[_LOCAL])
        self.steps += 1
        return None

    def stopped(self, outcome: str, reason: str, *, step: int | None = None) -> RunStopped:
        """Return the end of the run in a step, without one in that after the last good step."""
        step = self.steps + 1 if step is None else step
        return RunStopped(outcome, (step - 1) // self._per_epoch + 1, step, reason)

    def _exploded(self, loss: float, first: float) -> RunStopped:
        return self.stopped(
            "exploded",
            f"the training loss is {loss:.4g}, for {self.patience} steps in a row more than "
            f"{self.factor:g} times the first step's {first:.4g}",
            step=self.steps + 2 - self.patience,
        )
