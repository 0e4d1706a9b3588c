"""Train one run, on a study's splits or on a measured scan, and write what it leaves in its folder
(docs/reference/files.md): bundle, weights, patches, tables."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ptycho_torch.config.base import placed
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.hold_out import half_light_radius_px
from ptycho_torch.data.patch_statistics import write_patch_statistics
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.training import TrainingData, data_of_scan, data_of_splits
from ptycho_torch.data.units import Scales
from ptycho_torch.files import io
from ptycho_torch.networks import count_flops, count_parameters
from ptycho_torch.networks.bundle import Bundle, BundleSettings, write_bundle
from ptycho_torch.networks.generators import recompute_parts
from ptycho_torch.runtime.jobs import process_peak, usable_threads
from ptycho_torch.runtime.locks import run_lock
from ptycho_torch.runtime.provenance import commit, platform_name, versions
from ptycho_torch.train.checkpoint import CHECKPOINT
from ptycho_torch.train.fit import LOGS, TrainResult, fit, predict
from ptycho_torch.train.module import PtychoModule

logger = logging.getLogger(__name__)

OUTPUTS = ("run.json", "timing.json", "history.csv", "bundle", "last.safetensors")
OPTIONAL = ("test_patches.npz", "patch_stats.json", "patches.png", "objects.png")
"""Written where they are requested; an earlier run's would be taken for this one's."""


def train_run(
    run: RunSettings,
    *,
    splits: Mapping[str, io.PathLike],
    dataset: io.PathLike,
    folder: io.PathLike,
    threads: int,
    low_memory: bool = False,
) -> None:
    """Train one run of a study and predict the test split with its best and last weights.

    splits, dataset: as for `data_of_splits`, with its errors; folder: where the run's files go, and
    its checkpoint, from which the same call resumes until `forget_checkpoints`; low_memory: whether
    to checkpoint activations also where the run does not ask for it, which changes no number. A run
    that diverges raises nothing: it is written as a result.
    """
    torch.set_num_threads(usable_threads(threads))
    data = data_of_splits(splits, dataset, patch_px=run.patch_px)
    module, folder = PtychoModule(run, data), Path(folder)
    if low_memory and not run.execution.checkpointing:
        logger.warning("low memory in this attempt: as with execution.checkpointing")
        recompute_parts(module.network)
    names = {"dataset": run.dataset, "arm": run.arm, "seed": run.seed}
    facts = {**names, "settings": run.model_dump(mode="json"), **data.facts}
    with _alone_in(folder):
        result = fit(module, data.train, data.validation, folder=folder)
        write_results(folder, result, data, facts)


def forget_checkpoints(folder: Path) -> None:
    """Remove what `train_run` would resume from, now or with other settings."""
    for path in folder.glob(CHECKPOINT):
        path.unlink()


def train_scan(
    data: TrainingData,
    settings: FitSettings,
    folder: io.PathLike,
    *,
    overwrite: bool = False,
    patch_stats_limit: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train on a measured scan and return what `run.json` says; a run that diverges is a result.

    folder: for `OUTPUTS`, `run.json` last; a training that was stopped resumes when it is called
    again with the same data, settings and folder. overwrite: replace an earlier run's files in it.
    patch_stats_limit: write statistics of at most so many patches that the best weights draw for
    the held-out frames (None: of none). progress: whether to draw a progress bar.

    Raises `InputError` if data and settings do not fit, or the folder holds another run's files.
    """
    torch.set_num_threads(usable_threads(settings.execution.threads))
    folder = Path(folder)
    with placed(f"{data.facts['source']}: "):
        module = PtychoModule(settings, data)
    with _alone_in(folder) as first:
        if first:
            files = (*OUTPUTS, LOGS)
            io.must_be_free(folder, files, overwrite=overwrite, state=CHECKPOINT)
        result = fit(module, data.train, data.validation, folder=folder, progress=progress)
        # Gone first, written last: results that were torn off never look finished.
        for name in ("run.json", *OPTIONAL):
            (folder / name).unlink(missing_ok=True)
        if patch_stats_limit is not None:
            write_statistics(folder, result, data, patch_stats_limit)
        facts = {"settings": settings.model_dump(mode="json"), "data": data.facts}
        record = write_results(folder, result, data, facts)
        if result.checkpoint is not None:
            result.checkpoint.unlink(missing_ok=True)
    return record


def train_measurement(
    settings: FitSettings,
    *,
    frames: io.PathLike,
    rpie: io.PathLike,
    folder: io.PathLike,
) -> dict[str, Any]:
    """Train on the training frames of a study's measurement; see `train_scan`.

    rpie: `objects.npz` of the same frames' iterative reconstruction, whose refined probe the
    network sees; folder: an earlier run's files in it are replaced.
    """
    probe = io.read_npz(rpie, "train_probe")["train_probe"]
    scan = replace(read_scan(frames), probe_MHW=probe)
    # The gap around the validation block is that around the frames held out.
    used = settings.model_copy(update={"gap_px": half_light_radius_px(probe)})
    data = data_of_scan(scan, used)
    data.facts["train_data"] = {"file": Path(frames).name, "sha256": io.sha256(frames)}
    return train_scan(data, settings, folder, overwrite=True)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Lock the folder in the first of the processes that share a run; yield whether it is it."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    with run_lock(folder) if first else contextlib.nullcontext():
        yield first


def write_results(
    folder: Path, result: TrainResult, data: TrainingData, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write a run's files, last `run.json`: these facts and `run_record`; return what it says."""
    write_bundle(folder / "bundle", _bundle(result, data))
    io.write_tensors(folder / "last.safetensors", result.last.weights)
    inference_s = None
    if data.test is not None:
        best, began = predict(result, result.best, data.test), time.monotonic()
        last = predict(result, result.last, data.test)
        inference_s = time.monotonic() - began  # The second counts: the first also warms up.
        io.write_npz(folder / "test_patches.npz", {"best": best, "last": last})
    # Its columns are there also of a run that finished no epoch.
    columns = [
        "epoch", "step", "learning_rate", f"{result.module.run.training.loss}_train_loss",
        "mae_val_loss", "poisson_val_loss", "grad_norm_median", "grad_norm_p99", "grad_norm_max",
        "clipped_grad_norm_median", "clipped_grad_norm_max", "clipped_share", "intensity_scale",
        "spectral_local_ratio",
    ]  # fmt: skip
    history = pd.DataFrame(result.module.history.rows, columns=columns)
    io.write_csv(folder / "history.csv", history)
    io.write_json(folder / "timing.json", _timing(result, inference_s))
    record = {**facts, **run_record(result)}
    io.write_json(folder / "run.json", record)
    return record


def run_record(result: TrainResult) -> dict[str, Any]:
    """Return what `run.json` says of the training: outcome, losses, gradient norms, versions."""
    module, history, monitor = result.module, result.module.history, result.module.monitor
    name, steps, side = module.val_loss_name, monitor.table(), module.run.patch_px
    frames = (module.run.training.batch_size, module.channels, side, side)
    best = min(history.rows, key=lambda row: row[name], default={})
    last, norms = history.rows[-1] if history.rows else {}, steps.before
    scale = module.scales["train"].intensity_scale
    failure = None if monitor.failure is None else asdict(monitor.failure)
    outcome = failure.pop("outcome") if failure else "completed"
    return {
        "outcome": outcome,
        "failure": failure,
        "epochs": len(history.rows),
        "steps": monitor.steps,
        "val_loss_name": name,
        "best_epoch": best.get("epoch"),
        "best_val_loss": best.get(name),
        "last_val_loss": last.get(name),
        "best_mae_val_loss": best.get("mae_val_loss"),
        "first_loss": steps.loss[0] if norms.size else None,
        "input_scale": module.input_scale,
        "intensity_scale": {
            "measured": scale,
            "best": scale * result.best.gain,
            "last": scale * result.last.gain,
        },
        "parameters": count_parameters(module.network),
        "flops_per_step": count_flops(module.network, frames),
        "gradient_norm": {
            "median": float(np.median(norms)) if norms.size else None,
            "p99": float(np.percentile(norms, 99)) if norms.size else None,
            "max": float(norms.max()) if norms.size else None,
        },
        "clipped_share": steps.clipped_share,
        # That at which a run ends as exploded is one more.
        "loss_spikes": int((steps.spikes > 0).sum()) + (outcome == "exploded"),
        "versions": versions(torch, np),
    }


def _bundle(result: TrainResult, data: TrainingData) -> Bundle:
    module, run, gain = result.module, result.module.run, result.best.gain
    scales, learned = module.scales["train"], module.log_gain is not None
    settings = BundleSettings(
        generator=run.generator,
        patch_px=run.patch_px,
        channels=module.channels,
        gridsize=math.isqrt(module.channels),
        object_big=run.training.object_big,
        input_scale=module.input_scale,
        norm_Y_I=data.norm_Y_I,
        intensity_scale=scales.intensity_scale * gain,
        intensity_scale_source="learned" if learned else data.intensity_scale_source,
        dataset=run.dataset,
    )
    return Bundle(
        settings=settings,
        weights=result.best.weights,
        probe_MHW=module.probe_MHW.cpu(),
        record={"run": run.model_dump(mode="json"), **data.facts},
    )


def _timing(result: TrainResult, inference_s: float | None) -> dict[str, Any]:
    """Return what differs from machine to machine; inference_s: of the test data, warm."""
    device, run = result.device, result.module.run
    name, peak = device.type, process_peak()
    if name == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)
    samples = result.module.monitor.steps * run.training.batch_size * run.execution.devices
    return {
        "wall_s": round(result.wall_s, 3),
        "inference_s": None if inference_s is None else round(inference_s, 6),
        "samples_per_s": round(samples / result.wall_s, 2),
        "peak_memory_mib": round(peak / 2**20, 1),
        "device": name,
        "threads": torch.get_num_threads(),
        "commit": commit(Path(__file__)),
        "platform": platform_name(),
    }


def write_statistics(folder: Path, result: TrainResult, data: TrainingData, limit: int) -> None:
    """Write statistics of at most `limit` patches that the best weights draw of held-out frames."""
    patches = np.moveaxis(predict(result, result.best, data.validation), -1, 1)
    patches_PHW = patches.reshape(-1, *patches.shape[-2:])
    scales = Scales(**_bundle(result, data).settings.model_dump())
    write_patch_statistics(folder, patches_PHW, scales, limit=limit)
