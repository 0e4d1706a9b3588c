"""Fit one arm at one seed and write the run's files (docs/files.md).

Letters: n groups, C patches of a group, H rows, W columns.
"""

import logging
import math
import resource
import sys
import time
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch import __version__, io
from ptycho_torch.config import InputError, RunSettings
from ptycho_torch.dataset_file import Split, read_split
from ptycho_torch.generators import build_generator, count_parameters
from ptycho_torch.generators.bundle import Bundle, BundleSettings, write_bundle
from ptycho_torch.jobs import usable_threads
from ptycho_torch.physics.scales import SplitScales, probe_tensor, statistical_input_scale
from ptycho_torch.provenance import commit, platform_name
from ptycho_torch.streams import named_seed
from ptycho_torch.train.data import OrderedBatches, ShuffledBatches
from ptycho_torch.train.history import History, snapshot
from ptycho_torch.train.module import FitModule, RunStopped

logger = logging.getLogger(__name__)

PathLike = str | Path
_EVAL_BATCH = 64


def fit_run(
    run: RunSettings,
    *,
    splits: Mapping[str, PathLike],
    dataset: PathLike,
    outputs: Mapping[str, PathLike],
    threads: int,
) -> None:
    """Train one run and predict the test split with its best and last weights.

    Parameters
    ----------
    run
        Everything that decides the run.
    splits
        Paths of `train`, `validation` and `test`; the test split is opened after training.
    dataset
        `dataset.json`, whose checksums the splits must have.
    outputs
        Paths of `run`, `timing`, `history`, `bundle` (the `bundle.json` in a folder that takes the
        weights as well), `last` and `patches`.
    threads
        CPU threads that torch may use, at most the machine's.

    Raises
    ------
    InputError
        If a file is damaged or not the one that `dataset.json` names. A run that diverges
        raises nothing: it is written as a result.
    """
    torch.set_num_threads(usable_threads(threads))
    facts = io.read_json(dataset)
    train, validation = (_read(s, splits, facts, run) for s in ("train", "validation"))
    module = build_module(run, train, validation)
    trainer, history = make_trainer(run)
    started = time.monotonic()
    stopped = _fit(trainer, module, train, validation)
    wall_s = time.monotonic() - started
    history.collect_steps(module)
    last = snapshot(module.network)
    best = last if history.best is None else history.best
    test = _read("test", splits, facts, run)
    device = trainer.strategy.root_device
    patches = {
        name: predict(module, weights, test, device)
        for name, weights in (("best", best), ("last", last))
    }
    write_bundle(Path(outputs["bundle"]).parent, _bundle(run, train, module, best, facts))
    io.write_tensors(outputs["last"], last)
    io.write_npz(outputs["patches"], patches)
    io.write_csv(outputs["history"], pd.DataFrame(history.rows, columns=_columns(run)))
    io.write_json(outputs["timing"], _timing(run, wall_s, trainer))
    io.write_json(outputs["run"], _record(run, facts, module, history, stopped, trainer))


def build_module(run: RunSettings, train: Split, validation: Split) -> FitModule:
    """Return the module of a run before training; weights depend on the run's seed alone."""
    channels = train.arrays["diffraction"].shape[-1]
    try:
        network = build_generator(
            run.generator,
            channels=channels,
            patch_px=run.patch_px,
            seed=named_seed(run.seed, "weights"),
        )
    except ValueError as error:
        raise InputError(f"arms.{run.arm}.generator: {error}") from None
    scaled = run.training.input_scaling == "statistical"
    return FitModule(
        run,
        network,
        probe_MHW=probe_tensor(train),
        scales={"train": SplitScales.of(train), "validation": SplitScales.of(validation)},
        input_scale=statistical_input_scale(train) if scaled else 1.0,
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
            callbacks=[history],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise InputError(f"execution.accelerator '{run.execution.accelerator}': {error}") from None
    return trainer, history


def _read(
    split: str, paths: Mapping[str, PathLike], facts: dict[str, Any], run: RunSettings
) -> Split:
    checksum = facts["splits"][split]["sha256"]
    return read_split(paths[split], patch_px=run.patch_px, sha256=checksum)


def _fit(
    trainer: pl.Trainer, module: FitModule, train: Split, validation: Split
) -> RunStopped | None:
    run = module.run
    try:
        batches = ShuffledBatches(
            torch.from_numpy(train.diffraction_nCHW),
            run.training.batch_size,
            seed=run.seed,
            epoch=lambda: trainer.current_epoch,
        )
    except InputError as error:
        raise InputError(f"arms.{run.arm} on dataset '{run.dataset}': {error}") from None
    checks = OrderedBatches(torch.from_numpy(validation.diffraction_nCHW), _EVAL_BATCH)
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
    module: FitModule, weights: dict[str, Tensor], test: Split, device: torch.device
) -> NDArray[np.complex64]:
    """Return the object patches that these weights see in the test split, (n, H, W, C)."""
    module.network.load_state_dict(weights)
    module.to(device).eval()
    amplitude = torch.from_numpy(test.diffraction_nCHW)
    with torch.inference_mode():
        parts = [module(batch.to(device)).cpu() for batch in amplitude.split(_EVAL_BATCH)]
    patches_nCHW = torch.cat(parts).to(torch.complex64).numpy()
    return np.ascontiguousarray(np.moveaxis(patches_nCHW, 1, -1))


def _bundle(
    run: RunSettings,
    train: Split,
    module: FitModule,
    weights: dict[str, Tensor],
    facts: dict[str, Any],
) -> Bundle:
    channels = train.arrays["diffraction"].shape[-1]
    settings = BundleSettings(
        generator=run.generator,
        patch_px=run.patch_px,
        channels=channels,
        gridsize=math.isqrt(channels),
        input_scale=module.input_scale,
        norm_Y_I=train.norm_Y_I,
        intensity_scale=train.intensity_scale,
        intensity_scale_source=train.intensity_scale_source,
        mean_amplitude=module.scales["train"].mean_amplitude,
        dataset=run.dataset,
    )
    record = {
        "run": run.model_dump(mode="json"),
        "dataset_sha256": {split: facts["splits"][split]["sha256"] for split in facts["splits"]},
    }
    return Bundle(
        settings=settings, weights=weights, probe_MHW=module.probe_MHW.cpu(), record=record
    )


def _columns(run: RunSettings) -> list[str]:
    return [
        "epoch", "step", "learning_rate", f"{run.training.loss}_train_loss", "mae_val_loss",
        "poisson_val_loss", "grad_norm_median", "grad_norm_p99", "grad_norm_max",
        "clipped_grad_norm_median", "clipped_grad_norm_max", "clipped_share",
        "spectral_local_ratio",
    ]  # fmt: skip


def _record(
    run: RunSettings,
    facts: dict[str, Any],
    module: FitModule,
    history: History,
    stopped: RunStopped | None,
    trainer: pl.Trainer,
) -> dict[str, Any]:
    name, best = module.val_loss_name, history.best_row or {}
    last = history.rows[-1] if history.rows else {}
    norms = np.array(history.norms_before)
    return {
        "dataset": run.dataset,
        "arm": run.arm,
        "seed": run.seed,
        "settings": run.model_dump(mode="json"),
        "dataset_sha256": {split: facts["splits"][split]["sha256"] for split in facts["splits"]},
        "outcome": stopped.outcome if stopped else "completed",
        "failure": stopped.failure if stopped else None,
        "epochs": len(history.rows),
        "steps": trainer.global_step,
        "val_loss_name": name,
        "best_epoch": best.get("epoch"),
        "best_val_loss": best.get(name),
        "last_val_loss": last.get(name),
        "best_mae_val_loss": best.get("mae_val_loss"),
        "first_loss": module.first_loss,
        "parameters": count_parameters(module.network),
        "gradient_norm": {
            "median": float(np.median(norms)) if norms.size else None,
            "p99": float(np.percentile(norms, 99)) if norms.size else None,
            "max": float(norms.max()) if norms.size else None,
        },
        "clipped_share": history.clipped / history.parts if history.parts else 0.0,
        "loss_spikes": module.spikes,
        "versions": {
            "ptycho_torch": __version__,
            "torch": torch.__version__,
            "lightning": version("lightning"),
            "numpy": np.__version__,
        },
    }


def _timing(run: RunSettings, wall_s: float, trainer: pl.Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        # Linux counts in KiB, macOS in bytes.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        name, peak = device.type, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    samples = trainer.global_step * run.training.batch_size
    return {
        "wall_s": round(wall_s, 3),
        "samples_per_s": round(samples / wall_s, 2),
        "peak_memory_mib": round(peak, 1),
        "device": name,
        "threads": torch.get_num_threads(),
        "commit": commit(Path(__file__)),
        "platform": platform_name(),
    }
