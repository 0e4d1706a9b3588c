"""Where a training's progress goes beside its files; no result depends on it."""

import importlib.util
from pathlib import Path

from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from ptycho_torch.config.training import RunSettings
from ptycho_torch.runtime.errors import InputError

LOGS = "logs"
"""Folder of the loggers' files, in that of the run."""

INSTALL = {
    "tensorboard": "pip install 'ptycho-torch[track]'",
    "mlflow": "pip install 'ptycho-torch[track]'",
    "wandb": "pip install wandb",
}


def make_loggers(run: RunSettings, folder: Path) -> list[Logger]:
    """Return the loggers that `execution.loggers` names, writing below the run's folder.

    Raises
    ------
    InputError
        If one needs a package that is not installed; with the line that installs it.
    """
    for name in run.execution.loggers:
        if name in INSTALL and importlib.util.find_spec(name) is None:
            raise InputError(
                f"execution.loggers '{name}': the package is not installed; {INSTALL[name]}"
            )
    return [_make(name, run, folder / LOGS) for name in run.execution.loggers]


def _make(name: str, run: RunSettings, folder: Path) -> Logger:
    title = f"{run.dataset}-{run.arm}-seed-{run.seed}"
    match name:
        case "csv":
            return CSVLogger(folder, name="csv", version="")
        case "tensorboard":
            return TensorBoardLogger(folder, name="tensorboard", version="")
        case "mlflow":
            uri = (folder / "mlflow").absolute().as_uri()
            return MLFlowLogger(run.dataset, run_name=title, tracking_uri=uri)
        case _:
            return WandbLogger(title, save_dir=folder, project=run.dataset)
