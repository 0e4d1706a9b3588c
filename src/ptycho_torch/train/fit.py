"""One training by Lightning's Trainer, and predictions with its weights.

Letters: n groups, C patches of a group, H rows, W columns.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import loggers
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Batch
from ptycho_torch.data.module import EVAL_BATCH, PtychoDataModule
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.train.checkpoint import CheckpointWriter, ResumeCheckpoint, StopOnSignal
from ptycho_torch.train.device import keep_freed_memory, numerics
from ptycho_torch.train.module import PtychoModule, Weights

logger = logging.getLogger(__name__)

LOGS = "logs"
"""Folder of the loggers' files, in that of the run."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished training, whichever way it ended; `module.history` and `module.monitor` have what
    happened on the way; wall_s: over all attempts, of a killed one up to its last checkpoint;
    checkpoint: what the same training would resume from."""

    module: PtychoModule
    best: Weights
    last: Weights
    wall_s: float
    device: torch.device
    checkpoint: Path | None = None


def fit(
    module: PtychoModule,
    train: Batch,
    validation: Batch,
    *,
    folder: Path | None = None,
    progress: bool = False,
) -> TrainResult:
    """Train a module by its run's settings; a run that diverges is a result.

    folder: where the checkpoint and the loggers' files go, and a checkpoint of the very same
    training is resumed from; None: nothing is written. progress: whether to draw a progress bar.
    `InputError` if a batch has more groups than the split, or a device or package is missing.
    """
    run, execution = module.run, module.run.execution
    data, device = PtychoDataModule(run, train, validation), choose_device(execution.accelerator)
    if execution.precision == "tf32" and device.type != "cuda":
        logger.warning("execution.precision tf32 has no effect on %s: it is fp32", device.type)
    keep_freed_memory()
    checkpoint = ResumeCheckpoint(folder, module, (train, validation), device.type)
    timer = Timer()
    with numerics(execution), _quiet():
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=execution.devices,
            strategy="ddp" if execution.devices > 1 else "auto",
            # Whatever a cluster's variables say of tasks: a run is one job.
            plugins=[LightningEnvironment(), CheckpointWriter()],
            max_epochs=run.training.epochs,
            deterministic=execution.deterministic,
            callbacks=[timer, StopOnSignal(), checkpoint],
            logger=[] if folder is None else _loggers(run, folder),
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        if execution.compile:
            module.network.compile()
        trainer.fit(module, data, ckpt_path=checkpoint.found(), weights_only=True)
    if not trainer.is_global_zero:
        # The first of the processes that shared the run writes its files.
        raise SystemExit(0)
    best, last = module.history.best, module.snapshot()
    return TrainResult(
        module=module,
        best=last if best is None else Weights(*best),
        last=last,
        wall_s=timer.time_elapsed(),
        device=device,
        checkpoint=checkpoint.path,
    )


def predict(result: TrainResult, weights: Weights, groups: Batch) -> NDArray[np.complex64]:
    """Return the object patches that these weights see, (n, H, W, C), as `predict_step` does."""
    module = result.module
    module.restore(weights)
    module.to(result.device).eval()
    batches = groups.to(result.device).batches(EVAL_BATCH)
    with torch.inference_mode():
        patches_nCHW = torch.cat([module.predict_step(batch).cpu() for batch in batches])
    return np.ascontiguousarray(np.moveaxis(patches_nCHW.to(torch.complex64).numpy(), 1, -1))


def _loggers(run: RunSettings, folder: Path) -> list[Logger]:
    """Return the loggers that `execution.loggers` names, writing below the run's folder;
    `InputError`, with the line that installs it, if one's package is not installed."""
    logs, title = folder / LOGS, f"{run.dataset}-{run.arm}-seed-{run.seed}"
    uri = (logs / "mlflow").absolute().as_uri()
    makers = {
        "csv": lambda: loggers.CSVLogger(logs, name="csv", version=""),
        "tensorboard": lambda: loggers.TensorBoardLogger(logs, name="tensorboard", version=""),
        "mlflow": lambda: loggers.MLFlowLogger(run.dataset, run_name=title, tracking_uri=uri),
        "wandb": lambda: loggers.WandbLogger(title, save_dir=logs, project=run.dataset),
    }
    try:
        return [makers[name]() for name in run.execution.loggers]
    except ModuleNotFoundError as error:
        hint = "pip install 'ptycho-torch[track]', for wandb: pip install wandb"
        raise InputError(f"execution.loggers: {error}; {hint}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says of choices that no user of ours can make."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.|ptycho_torch\.")
        yield
