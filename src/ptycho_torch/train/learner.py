"""One run in training: network, optimiser, schedule, guards and history."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ptycho_torch.data.batch import Groups
from ptycho_torch.networks.probing import fourier_blocks, gradient_moduli
from ptycho_torch.train.clip import clip_gradients, total_norm, unit_axes
from ptycho_torch.train.collapse import CollapseGuard
from ptycho_torch.train.history import History, snapshot
from ptycho_torch.train.kept import (
    must_be_epochs,
    must_be_like,
    must_be_moments,
    must_be_weights,
)
from ptycho_torch.train.module import FitModule
from ptycho_torch.train.schedule import make_optimizer, make_schedule, moments_of
from ptycho_torch.train.watch import RunStopped, StepRecords, Watch

logger = logging.getLogger(__name__)

EVAL_BATCH = 64
"""Groups of a batch where nothing is learned."""


class Learner:
    """A run under way. Its weights move in `step` and nowhere else.

    Parameters
    ----------
    module
        On the device of the training.
    steps_per_epoch
        Length of an epoch.
    recorded
        Whether steps will be recorded as CUDA graphs.
    """

    def __init__(self, module: FitModule, *, steps_per_epoch: int, recorded: bool = False) -> None:
        run, device = module.run, module.probe_MHW.device
        self.module = module
        self.recorded = recorded
        self.stopped: RunStopped | None = None
        self.history = History(run.training.epochs)
        self.watch = Watch(run.training, device, steps_per_epoch=steps_per_epoch)
        self.collapse = CollapseGuard(run.training)
        self.units = unit_axes(module.network)
        if module.log_gain is not None:
            self.units.append((module.log_gain, None))
        self.blocks = list(fourier_blocks(module.network).values())
        self.optimizer = make_optimizer(
            run.training.optimizer, module.parameters(), recorded=recorded
        )
        # torch's own way to tell an optimiser, without waiting for the device, not to move.
        self.optimizer.found_inf = self.watch.dead  # type: ignore[attr-defined]
        self.schedule = make_schedule(
            run.training.schedule,
            self.optimizer,
            total_steps=steps_per_epoch * run.training.epochs,
            epochs=run.training.epochs,
        )
        self._rate = 0.0

    def step(self, loss: Tensor, *, look: bool) -> None:
        """Clip the gradients that the weights hold, and move unless the step is bad.

        Parameters
        ----------
        loss
            What the gradients are of.
        look
            Whether to note the ratio of spectral and local gradients as well.
        """
        norm = total_norm(self.units)
        # Before clipping, which may change their ratio.
        moduli = gradient_moduli(self.blocks) if look else None
        report = clip_gradients(self.units, self.module.run.execution.clip, norm)
        verdict = self.watch.judge(loss, norm)
        self.optimizer.step()
        self.watch.note(loss, norm, report, verdict, moduli)

    def end_step(self, *, read: bool) -> None:
        """Move the schedule; with `read`, look at what the steps since the last look had."""
        if read:
            # Before the schedule moves on: the rate that this step was taken with.
            self._rate = float(self.optimizer.param_groups[0]["lr"])
        if self.schedule is not None:
            self.schedule.end_step()
        if read:
            self._stop(self.watch.read())

    def end_epoch(self, validation: Groups) -> None:
        """Validate, and add the epoch to the history, or end the run."""
        with self.collapse.watching(self.module.network, self.module.probe_MHW):
            losses = self._validation_losses(validation)
        judged = losses[self.module.val_loss_name]
        step = self.watch.steps
        if not math.isfinite(judged):
            # The epoch's last step has been taken: that is the step that failed.
            reason = f"the validation loss is {judged}"
            self._stop(self.watch.stopped("non_finite", reason, step=step))
            return
        self.history.add_epoch(
            self.module, self.watch.records, step=step, learning_rate=self._rate, losses=losses
        )
        self.watch.records = StepRecords()
        if self.schedule is not None:
            self.schedule.end_epoch(judged)
        self._stop(self.collapse.end_epoch(epoch=len(self.history.rows), step=step))

    @torch.inference_mode()
    def _validation_losses(self, validation: Groups) -> dict[str, float]:
        self.module.eval()
        batches = validation.batches(EVAL_BATCH)
        found = [self.module.validation_losses(batch) for batch in batches]
        self.module.train()
        sizes = [len(batch.amplitude_BCHW) for batch in batches]
        # Fetched from the device at once; each group has the same weight.
        each = {name: torch.stack([losses[name] for losses in found]).tolist() for name in found[0]}
        return {
            name: sum(loss * size for loss, size in zip(losses, sizes, strict=True))
            / len(validation)
            for name, losses in each.items()
        }

    def state(self) -> dict[str, Any]:
        """Return all that the rest of the run depends on, at an epoch's end; copies."""
        group = self.optimizer.param_groups[0]
        gain = self.module.log_gain
        return {
            "stopped": self.stopped and asdict(self.stopped),
            "network": snapshot(self.module.network),
            "log_gain": None if gain is None else gain.detach().clone(),
            "optimizer": {
                str(number): {
                    name: value.detach().clone()
                    for name, value in self.optimizer.state[parameter].items()
                    if value is not None
                }
                for number, parameter in enumerate(group["params"])
            },
            "rate": float(group["lr"]),
            "schedule": self.schedule and self.schedule.state(),
            "history": self.history.state(),
            "watch": self.watch.state(),
            "collapse": self.collapse.state(),
        }

    def must_fit(self, state: Mapping[str, Any]) -> None:
        """Raise `ValueError` if a state of `KeptLearner`'s form is not of a learner like this."""
        mine, history = self.state(), state["history"]
        must_be_weights(state["network"], mine["network"], "network")
        if history["best"] is not None:
            must_be_weights(history["best"], mine["network"], "history.best")
        must_be_like(state["log_gain"], mine["log_gain"], "log_gain")
        for name in ("first", "in_a_row"):
            must_be_like(state["watch"][name], mine["watch"][name], f"watch.{name}")
        for number, parameter in enumerate(self.optimizer.param_groups[0]["params"]):
            must_be_moments(
                state["optimizer"].get(str(number), {}), parameter, moments_of(self.optimizer)
            )
        epochs = self.module.run.training.epochs
        must_be_epochs(history, most=epochs, val_loss=self.module.val_loss_name)
        if (state["schedule"] is None) != (self.schedule is None):
            raise ValueError("schedule is there on one side only")
        if self.schedule is not None:
            self.schedule.must_fit(state["schedule"])

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned; the learner must not have taken a step."""
        self.stopped = state["stopped"] and RunStopped(**state["stopped"])
        self.module.network.load_state_dict(state["network"])
        if self.module.log_gain is not None:
            self.module.log_gain.copy_(state["log_gain"])
        group = self.optimizer.param_groups[0]
        for number, parameter in enumerate(group["params"]):
            self.optimizer.state[parameter] = {
                name: _like(parameter, value)
                for name, value in state["optimizer"].get(str(number), {}).items()
            }
        if self.schedule is not None:
            self.schedule.load_state(state["schedule"])
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(state["rate"])
        else:
            group["lr"] = state["rate"]
        self.history.load_state(state["history"])
        self.watch.load_state(state["watch"])
        self.collapse.load_state(state["collapse"])

    def _stop(self, stopped: RunStopped | None) -> None:
        if stopped is not None:
            self.stopped = stopped
            self.history.collect_steps(self.watch.records)
            logger.warning("seed %d ends here: %s", self.module.run.seed, stopped)


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a value of the optimiser's on the parameter's device, laid out as it is in memory:
    fused kernels go through both side by side."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
