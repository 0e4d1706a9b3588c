"""The one training loop, for one run or for several seeds at once, and predictions.

Letters: S seeds, n groups, B batch, C patches of a group, H rows, W columns.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.data.batch import Batch, Groups
from ptycho_torch.files import io
from ptycho_torch.physics.groups import merged_patches
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.gpus import choose_device
from ptycho_torch.runtime.memory import mitigated_by
from ptycho_torch.train.data import EpochOrder
from ptycho_torch.train.device import (
    cures_of,
    keep_freed_memory,
    numerics,
    records_steps,
    say_precision,
)
from ptycho_torch.train.graph import RecordedStep
from ptycho_torch.train.history import History, snapshot
from ptycho_torch.train.learner import EVAL_BATCH, Learner
from ptycho_torch.train.module import FitModule
from ptycho_torch.train.resume import Keeper, identity_of
from ptycho_torch.train.stopping import StopRequests, noted
from ptycho_torch.train.together import draw_together
from ptycho_torch.train.watch import READ_EVERY, RunStopped

logger = logging.getLogger(__name__)

_LOOK_EVERY = 8
"""Steps of an epoch between two looks at the gradients' ratio, which costs some percent of a
step; the first step is looked at."""

Step = Callable[[Tensor, bool], None]
"""Takes a step of all learners: groups of each one's batch, (S, B), and whether to look."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the network and the learned factor of the intensity scale that belongs to them."""

    weights: dict[str, Tensor]
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A finished training, whichever way it ended."""

    module: FitModule
    history: History
    stopped: RunStopped | None
    best: Weights
    last: Weights
    channels: int
    steps: int
    first_loss: float | None
    spikes: int
    wall_s: float
    """Over all sittings; of one that was killed, up to the last state it left."""
    sittings: int
    """How often the training was begun or taken up again."""
    together: int
    """Runs that were trained in one, this one among them."""
    device: torch.device


def fit(
    module: FitModule, train: Groups, validation: Groups, *, keep: io.PathLike | None = None
) -> Fitted:
    """Train a module by its run's settings; a run that diverges is a result.

    keep: as for `fit_seeds`.

    Raises
    ------
    InputError
        If the split has fewer groups than a batch, or the accelerator is not there.
    """
    (fitted,) = fit_seeds([module], train, validation, keep=keep)
    return fitted


def fit_seeds(
    modules: Sequence[FitModule],
    train: Groups,
    validation: Groups,
    *,
    keep: io.PathLike | None = None,
) -> list[Fitted]:
    """Train modules that differ in their seeds alone, step by step beside each other.

    Each sees its own batches, is clipped, judged and stopped by itself, and ends with what `fit`
    would give it, but for rounding.

    keep: a file for the state after an epoch. If it holds this training's, training goes on from
    there, and a signal that ends the process has the state written first. It stays, for the
    caller to delete once the results are safe; None: nothing is kept.

    Raises
    ------
    InputError
        As `fit`.
    """
    run = modules[0].run
    try:
        order = EpochOrder(len(train), run.training.batch_size)
    except InputError as error:
        raise InputError(f"arms.{run.arm} on dataset '{run.dataset}': {error}") from None
    device = choose_device(run.execution.accelerator)
    say_precision(run.execution, device)
    merges = modules[0].merges and train.channels > 1
    recorded = records_steps(run.execution, device, merges=merges)
    keep_freed_memory()
    cures = cures_of(run, together=len(modules), checkpointed=modules[0].checkpointed)
    with mitigated_by(*cures), numerics(run.execution, device):
        learners = [
            Learner(m.to(device), steps_per_epoch=len(order), recorded=recorded) for m in modules
        ]
        if run.execution.compile:
            for module in modules:
                module.network.compile()
        keeper = Keeper(
            keep, {} if keep is None else identity_of(modules, train, validation, device)
        )
        keeper.take_up(learners)
        with noted() if keep is not None else contextlib.nullcontext(StopRequests()) as requests:
            _train(learners, train.to(device), validation.to(device), order, keeper, requests)
        if requests.reason is not None:
            keeper.end_early(requests.reason)
            requests.obey()
        wall_s = keeper.wall_s
    return [
        _fitted(
            one,
            channels=train.channels,
            wall_s=wall_s,
            sittings=keeper.sittings,
            together=len(modules),
            device=device,
        )
        for one in learners
    ]


def _fitted(
    one: Learner,
    *,
    channels: int,
    wall_s: float,
    sittings: int,
    together: int,
    device: torch.device,
) -> Fitted:
    history, module = one.history, one.module
    last = Weights(snapshot(module.network), module.gain)
    best = last if history.best is None else Weights(history.best, history.best_gain)
    return Fitted(
        module=module,
        history=history,
        stopped=one.stopped,
        best=best,
        last=last,
        channels=channels,
        steps=one.watch.steps,
        first_loss=one.watch.first_loss,
        spikes=one.watch.spikes,
        wall_s=wall_s,
        sittings=sittings,
        together=together,
        device=device,
    )


def _train(
    learners: list[Learner],
    train: Groups,
    validation: Groups,
    order: EpochOrder,
    keeper: Keeper,
    requests: StopRequests,
) -> None:
    """Train to the end, or until a request to stop comes."""
    running = [one for one in learners if one.stopped is None]
    if not running:
        return
    step = _make_step(running, train)
    for epoch in range(keeper.epochs, learners[0].module.run.training.epochs):
        index_SkB = torch.stack([order.batches(one.module.run.seed, epoch) for one in running])
        index_SkB = index_SkB.to(train.amplitude_nCHW.device)
        for i in range(len(order)):
            if requests.reason is not None:
                return
            step(index_SkB[:, i], i % _LOOK_EVERY == 0)
            read = (i + 1) % READ_EVERY == 0 or i + 1 == len(order)
            for one in running:
                one.end_step(read=read)
            if any(one.stopped for one in running):
                index_SkB = index_SkB[[one.stopped is None for one in running]]
                running = [one for one in running if one.stopped is None]
                if not running:
                    return
                step = _make_step(running, train)
        for one in running:
            one.end_epoch(validation)
        keeper.end_epoch(learners, epoch + 1)
        if any(one.stopped for one in running):
            running = [one for one in running if one.stopped is None]
            if not running:
                return
            step = _make_step(running, train)


def _make_step(learners: list[Learner], train: Groups) -> Step:
    def step(index_SB: Tensor, look: bool) -> None:
        for one in learners:
            one.optimizer.zero_grad()
        batches = [train.take(index_B) for index_B in index_SB]
        losses = _losses([one.module for one in learners], batches)
        # One run's gradients know nothing of the others' losses.
        torch.stack(losses).sum().backward()
        for one, loss in zip(learners, losses, strict=True):
            one.step(loss, look=look)

    return RecordedStep(step, train.amplitude_nCHW.device) if learners[0].recorded else step


def _losses(modules: list[FitModule], batches: list[Batch]) -> list[Tensor]:
    if len(modules) == 1:
        return [modules[0].training_loss(batches[0])]
    patches_SBCHW = draw_together(modules, batches)
    return [m.training_loss(b, p) for m, b, p in zip(modules, batches, patches_SBCHW, strict=True)]


def predict(
    module: FitModule, weights: Weights, groups: Groups, device: torch.device
) -> NDArray[np.complex64]:
    """Return the object patches that these weights see, (n, H, W, C).

    Patches of a group that are merged in training are windows of the merged region here as well.
    """
    module.network.load_state_dict(weights.weights)
    module.gain = weights.gain
    module.to(device).eval()
    with torch.inference_mode():
        parts = [_seen(module, batch) for batch in groups.to(device).batches(EVAL_BATCH)]
    patches_nCHW = torch.cat(parts).to(torch.complex64).numpy()
    return np.ascontiguousarray(np.moveaxis(patches_nCHW, 1, -1))


def _seen(module: FitModule, batch: Batch) -> Tensor:
    patches: Tensor = module(batch.amplitude_BCHW)
    if module.merges and batch.whole_BC2 is not None:
        patches = merged_patches(patches, module.probe_MHW, batch.whole_BC2, batch.fraction_BC2)
    return patches.cpu()
