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

PACKAGES = {
    "tensorboard": ("tensorboard", "pip install 'ptycho-torch[track]'"),
    "mlflow": ("mlflow", "pip install 'ptycho-torch[track]'"),
    "wandb": ("wandb", "pip install wandb"),
}
"""Logger -> the package that it needs, and how to get it."""


def make_loggers(run: RunSettings, folder: Path) -> list[Logger]:
    """Return the loggers that `execution.loggers` names, writing below `folder`.

    Raises
    ------
    InputError
        If one needs a package that is not installed; with the line that installs it.
    """
    return [_make(name, run, folder / LOGS) for name in run.execution.loggers]


def _make(name: str, run: RunSettings, folder: Path) -> Logger:
    package, install = PACKAGES.get(name, (None, ""))
    if package is not None and importlib.util.find_spec(package) is None:
        raise InputError(
            f"execution.loggers '{name}': the package '{package}' is not installed; {install}"
        )
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
