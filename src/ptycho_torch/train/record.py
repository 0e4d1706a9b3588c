"""What a run leaves in its folder (docs/reference/files.md): bundle, weights, patches, tables."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ptycho_torch.data.patch_statistics import write_patch_statistics
from ptycho_torch.data.training import TrainingData
from ptycho_torch.data.units import Scales
from ptycho_torch.files import io
from ptycho_torch.networks import count_flops, count_parameters
from ptycho_torch.networks.bundle import Bundle, BundleSettings, write_bundle
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import commit, platform_name, versions
from ptycho_torch.train.fit import TrainResult, predict


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
        "flops_per_step": count_flops(
            module.network, (module.run.training.batch_size, module.channels, side, side)
        ),
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
        "checkpointed": result.module.checkpointed,
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
