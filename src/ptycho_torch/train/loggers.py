"""Where a training's progress goes beside its files; no result depends on it."""

import importlib.util
from pathlib import Path

from lightning.pytorch import loggers
from lightning.pytorch.loggers import Logger

from ptycho_torch.config.training import RunSettings
from ptycho_torch.runtime.errors import InputError

LOGS = "logs"
"""Folder of the loggers' files, in that of the run."""

_TRACK = "pip install 'ptycho-torch[track]'"
INSTALL = {"tensorboard": _TRACK, "mlflow": _TRACK, "wandb": "pip install wandb"}


def make_loggers(run: RunSettings, folder: Path) -> list[Logger]:
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
    for name in run.execution.loggers:
        if name in INSTALL and importlib.util.find_spec(name) is None:
            where = f"execution.loggers '{name}'"
            raise InputError(f"{where}: the package is not installed; {INSTALL[name]}")
    return [makers[name]() for name in run.execution.loggers]
