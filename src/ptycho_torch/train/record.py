"""What a run leaves beside its weights: the bundle, `run.json`, `timing.json`, the columns of
`history.csv` (docs/files.md)."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.training import TrainingData
from ptycho_torch.networks import count_parameters
from ptycho_torch.networks.bundle import Bundle, BundleSettings
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import commit, platform_name, versions
from ptycho_torch.train.fit import TrainResult


def make_bundle(result: TrainResult, data: TrainingData, record: dict[str, Any]) -> Bundle:
    """Return the run's best weights with all that inference needs; `record`: what else to keep."""
    module, run, gain = result.module, result.module.run, result.best.gain
    scales = module.scales["train"]
    learned = module.log_gain is not None
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
        mean_amplitude=scales.mean_amplitude / gain,
        dataset=run.dataset,
    )
    probe = module.probe_MHW.cpu()
    return Bundle(settings=settings, weights=result.best.weights, probe_MHW=probe, record=record)


def history_columns(run: RunSettings) -> list[str]:
    """Return the columns of `history.csv`, also of a run that finished no epoch."""
    return [
        "epoch", "step", "learning_rate", f"{run.training.loss}_train_loss", "mae_val_loss",
        "poisson_val_loss", "grad_norm_median", "grad_norm_p99", "grad_norm_max",
        "clipped_grad_norm_median", "clipped_grad_norm_max", "clipped_share", "intensity_scale",
        "spectral_local_ratio",
    ]  # fmt: skip


def run_record(result: TrainResult) -> dict[str, Any]:
    """Return what `run.json` says of the training: outcome, losses, gradient norms, versions."""
    module, history, monitor = result.module, result.module.history, result.module.monitor
    name, best = module.val_loss_name, history.best_row or {}
    last = history.rows[-1] if history.rows else {}
    norms = np.array(history.norms_before)
    scale = module.scales["train"].intensity_scale
    failure = None if monitor.failure is None else asdict(monitor.failure)
    return {
        "outcome": failure.pop("outcome") if failure else "completed",
        "failure": failure,
        "epochs": len(history.rows),
        "steps": monitor.steps,
        "val_loss_name": name,
        "best_epoch": best.get("epoch"),
        "best_val_loss": best.get(name),
        "last_val_loss": last.get(name),
        "best_mae_val_loss": best.get("mae_val_loss"),
        "first_loss": monitor.first_loss,
        "input_scale": module.input_scale,
        "intensity_scale": {
            "measured": scale,
            "best": scale * result.best.gain,
            "last": scale * result.last.gain,
        },
        "parameters": count_parameters(module.network),
        "gradient_norm": {
            "median": float(np.median(norms)) if norms.size else None,
            "p99": float(np.percentile(norms, 99)) if norms.size else None,
            "max": float(norms.max()) if norms.size else None,
        },
        "clipped_share": history.clipped / history.parts if history.parts else 0.0,
        "loss_spikes": monitor.spikes,
        "versions": versions(torch, np),
    }


def timing(result: TrainResult, inference_s: float | None) -> dict[str, Any]:
    """Return what `timing.json` says: what differs from machine to machine.

    inference_s: of the test data, warm; None where there are none.
    """
    device, execution = result.device, result.module.run.execution
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        name, peak = device.type, process_peak() / 2**20
    samples = result.module.monitor.steps * result.module.run.training.batch_size
    return {
        "wall_s": round(result.wall_s, 3),
        "attempts": result.attempts,
        "inference_s": None if inference_s is None else round(inference_s, 6),
        "samples_per_s": round(samples * execution.devices / result.wall_s, 2),
        "peak_memory_mib": round(peak, 1),
        "checkpointed": result.module.checkpointed,
        "device": name,
        "devices": execution.devices,
        "threads": torch.get_num_threads(),
        "commit": commit(Path(__file__)),
        "platform": platform_name(),
    }
