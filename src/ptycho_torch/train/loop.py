"""The one training loop: Lightning's trainer round a `FitModule`, and predictions with its weights.

Letters: n groups, C patches of a group, H rows, W columns.
"""

import logging
import time
import warnings
from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.config import InputError, RunSettings
from ptycho_torch.measurements.batch import Batch, Groups
from ptycho_torch.physics.groups import merged_patches
from ptycho_torch.train.collapse import CollapseGuard
from ptycho_torch.train.data import OrderedBatches, ShuffledBatches
from ptycho_torch.train.history import History, snapshot
from ptycho_torch.train.module import FitModule, RunStopped

logger = logging.getLogger(__name__)

EVAL_BATCH = 64
"""Groups of a batch where nothing is learned."""


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
    wall_s: float
    device: torch.device


def fit(module: FitModule, train: Groups, validation: Groups) -> Fitted:
    """Train a module by its run's settings; a run that diverges is a result.

    Raises
    ------
    InputError
        If the split has fewer groups than a batch, or the accelerator is not there.
    """
    trainer, history = make_trainer(module.run)
    started = time.monotonic()
    stopped = _train(trainer, module, train, validation)
    wall_s = time.monotonic() - started
    history.collect_steps(module)
    last = Weights(snapshot(module.network), module.gain)
    best = last if history.best is None else Weights(history.best, history.best_gain)
    return Fitted(
        module=module,
        history=history,
        stopped=stopped,
        best=best,
        last=last,
        channels=train.channels,
        steps=trainer.global_step,
        wall_s=wall_s,
        device=trainer.strategy.root_device,
    )


def make_trainer(run: RunSettings) -> tuple[pl.Trainer, History]:
    """Return Lightning's trainer for a run, and the history it fills."""
    history = History(run.training.epochs)
    try:
        trainer = pl.Trainer(
            accelerator=run.execution.accelerator,
            devices=1,
            deterministic=run.execution.deterministic,
            max_epochs=run.training.epochs,
            callbacks=[history, CollapseGuard(run.training)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise InputError(f"execution.accelerator '{run.execution.accelerator}': {error}") from None
    return trainer, history


def _train(
    trainer: pl.Trainer, module: FitModule, train: Groups, validation: Groups
) -> RunStopped | None:
    run = module.run
    try:
        batches = ShuffledBatches(
            train,
            run.training.batch_size,
            seed=run.seed,
            epoch=lambda: trainer.current_epoch,
        )
    except InputError as error:
        raise InputError(f"arms.{run.arm} on dataset '{run.dataset}': {error}") from None
    checks = OrderedBatches(validation, EVAL_BATCH)
    with warnings.catch_warnings():
        # Lightning advises worker processes; the data are in memory already.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Between Lightning and torch; nothing that a reader of the log can act on.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        try:
            trainer.fit(module, train_dataloaders=batches, val_dataloaders=checks)
        except RunStopped as stopped:
            logger.warning("the run ends here: %s", stopped)
            return stopped
    if trainer.current_epoch != run.training.epochs:
        # Never to be written as a completed run, whoever asked the trainer to stop.
        raise RuntimeError(
            f"training stopped after {trainer.current_epoch} of {run.training.epochs} epochs"
        )
    return None


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
        parts = [_seen(module, batch, device) for batch in groups.batches(EVAL_BATCH)]
    patches_nCHW = torch.cat(parts).to(torch.complex64).numpy()
    return np.ascontiguousarray(np.moveaxis(patches_nCHW, 1, -1))


def _seen(module: FitModule, batch: Batch, device: torch.device) -> Tensor:
    patches: Tensor = module(batch.amplitude_BCHW.to(device))
    if module.merges and batch.whole_BC2 is not None:
        fraction = None if batch.fraction_BC2 is None else batch.fraction_BC2.to(device)
        patches = merged_patches(patches, module.probe_MHW, batch.whole_BC2.to(device), fraction)
    return patches.cpu()
