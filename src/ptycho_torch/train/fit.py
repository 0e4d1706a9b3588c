"""One training by Lightning's Trainer, and predictions with its weights.

Letters: n groups, B batch, C patches of a group, H rows, W columns.
"""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer
from lightning.fabric.plugins.environments import LightningEnvironment
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.data.batch import Groups
from ptycho_torch.data.module import EVAL_BATCH, ScanDataModule
from ptycho_torch.files import io
from ptycho_torch.runtime.gpus import choose_device
from ptycho_torch.runtime.memory import mitigated_by
from ptycho_torch.train.checkpoint import CHECKPOINT, ResumeCheckpoint, identity_of
from ptycho_torch.train.device import (
    keep_freed_memory,
    mitigations,
    numerics,
    warn_of_precision,
)
from ptycho_torch.train.history import snapshot
from ptycho_torch.train.loggers import make_loggers
from ptycho_torch.train.module import PtychoModule
from ptycho_torch.train.stop import StopOnSignal


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the network and the learned factor of the intensity scale that belongs to them."""

    weights: dict[str, Tensor]
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """A finished training, whichever way it ended; `module.history` and `module.monitor` have what
    happened on the way."""

    module: PtychoModule
    best: Weights
    last: Weights
    wall_s: float
    """Over all attempts; of one that was killed, up to the last checkpoint it left."""
    attempts: int
    """How often the training was begun or resumed."""
    device: torch.device


def fit(
    module: PtychoModule,
    train: Groups,
    validation: Groups,
    *,
    folder: io.PathLike | None = None,
    progress: bool = False,
) -> TrainResult:
    """Train a module by its run's settings; a run that diverges is a result.

    Parameters
    ----------
    module
        Before training.
    train, validation
        Groups.
    folder
        Where the checkpoint and the loggers' files go; a checkpoint of the very same training that
        is there is resumed from. None: nothing is written.
    progress
        Whether to draw a progress bar.

    Raises
    ------
    InputError
        If the split has fewer groups than a batch, the accelerator is not there, or a logger's
        package is not.
    """
    run = module.run
    execution = run.execution
    data = ScanDataModule(run, train, validation)
    device = choose_device(execution.accelerator)
    warn_of_precision(execution, device)
    keep_freed_memory()
    callbacks, checkpoint = [StopOnSignal()], None
    if folder is not None:
        identity = identity_of(module, train, validation, device)
        checkpoint = ResumeCheckpoint(Path(folder) / CHECKPOINT, identity)
        callbacks.append(checkpoint)
    what, less_memory = mitigations(run, checkpointed=module.checkpointed)
    began = time.monotonic()
    with mitigated_by(what, less_memory), numerics(execution), _quiet():
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=execution.devices,
            strategy="ddp" if execution.devices > 1 else "auto",
            # Whatever a cluster's variables say of tasks: a run is one job.
            plugins=[LightningEnvironment()],
            max_epochs=run.training.epochs,
            deterministic=execution.deterministic,
            callbacks=callbacks,
            logger=[] if folder is None else make_loggers(run, Path(folder)),
            enable_checkpointing=checkpoint is not None,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        if execution.compile:
            module.network.compile()
        resumed = None if checkpoint is None else checkpoint.found()
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    last = Weights(snapshot(module.network), module.gain)
    history = module.history
    return TrainResult(
        module=module,
        best=last if history.best is None else Weights(history.best, history.best_gain),
        last=last,
        wall_s=time.monotonic() - began if checkpoint is None else checkpoint.wall_s,
        attempts=1 if checkpoint is None else checkpoint.attempts,
        device=device,
    )


def predict(
    module: PtychoModule, weights: Weights, groups: Groups, device: torch.device
) -> NDArray[np.complex64]:
    """Return the object patches that these weights see, (n, H, W, C).

    Patches of a group that are merged in training are windows of the merged region here as well.
    """
    module.network.load_state_dict(weights.weights)
    module.gain = weights.gain
    module.to(device).eval()
    with torch.inference_mode():
        batches = groups.to(device).batches(EVAL_BATCH)
        parts = [module.predict_step(batch).cpu() for batch in batches]
    patches_nCHW = torch.cat(parts).to(torch.complex64).numpy()
    return np.ascontiguousarray(np.moveaxis(patches_nCHW, 1, -1))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what Lightning has to say of choices that no user of ours can make."""
    levels = {}
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        levels[logger] = logger.level
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        yield
    for logger, level in levels.items():
        logger.setLevel(level)
