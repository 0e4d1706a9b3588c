"""What a run leaves beside its weights: the bundle, `run.json`, `timing.json`, the columns of
`history.csv` (docs/files.md)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ptycho_torch.config.training import RunSettings
from ptycho_torch.networks import count_parameters
from ptycho_torch.networks.bundle import Bundle, BundleSettings
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import commit, platform_name, versions
from ptycho_torch.train.loop import Fitted

ScaleSource = Literal["measured", "closed_form"]


def make_bundle(
    fitted: Fitted, *, norm: float, source: ScaleSource, record: Mapping[str, Any]
) -> Bundle:
    """Return the run's best weights with all that inference needs.

    Parameters
    ----------
    norm
        `norm_Y_I` of the training data.
    source
        Where its intensity scale comes from, if it was not learned.
    record
        What else to keep.
    """
    module, run = fitted.module, fitted.module.run
    scales = module.scales["train"]
    gain = fitted.best.gain
    settings = BundleSettings(
        generator=run.generator,
        patch_px=run.patch_px,
        channels=fitted.channels,
        gridsize=math.isqrt(fitted.channels),
        object_big=run.training.object_big,
        input_scale=module.input_scale,
        norm_Y_I=norm,
        intensity_scale=scales.intensity_scale * gain,
        intensity_scale_source="learned" if module.log_gain is not None else source,
        mean_amplitude=scales.mean_amplitude / gain,
        dataset=run.dataset,
    )
    return Bundle(
        settings=settings,
        weights=fitted.best.weights,
        probe_MHW=module.probe_MHW.cpu(),
        record=dict(record),
    )


def history_columns(run: RunSettings) -> list[str]:
    """Return the columns of `history.csv`, also of a run that finished no epoch."""
    return [
        "epoch", "step", "learning_rate", f"{run.training.loss}_train_loss", "mae_val_loss",
        "poisson_val_loss", "grad_norm_median", "grad_norm_p99", "grad_norm_max",
        "clipped_grad_norm_median", "clipped_grad_norm_max", "clipped_share", "intensity_scale",
        "spectral_local_ratio",
    ]  # fmt: skip


def run_record(fitted: Fitted) -> dict[str, Any]:
    """Return what `run.json` says of the training: outcome, losses, gradient norms, versions."""
    module, history, stopped = fitted.module, fitted.history, fitted.stopped
    name, best = module.val_loss_name, history.best_row or {}
    last = history.rows[-1] if history.rows else {}
    norms = np.array(history.norms_before)
    scale = module.scales["train"].intensity_scale
    return {
        "outcome": stopped.outcome if stopped else "completed",
        "failure": stopped.failure if stopped else None,
        "epochs": len(history.rows),
        "steps": fitted.steps,
        "val_loss_name": name,
        "best_epoch": best.get("epoch"),
        "best_val_loss": best.get(name),
        "last_val_loss": last.get(name),
        "best_mae_val_loss": best.get("mae_val_loss"),
        "first_loss": fitted.first_loss,
        "input_scale": module.input_scale,
        "intensity_scale": {
            "measured": scale,
            "best": scale * fitted.best.gain,
            "last": scale * fitted.last.gain,
        },
        "parameters": count_parameters(module.network),
        "gradient_norm": {
            "median": float(np.median(norms)) if norms.size else None,
            "p99": float(np.percentile(norms, 99)) if norms.size else None,
            "max": float(norms.max()) if norms.size else None,
        },
        "clipped_share": history.clipped / history.parts if history.parts else 0.0,
        "loss_spikes": fitted.spikes,
        "versions": versions(torch, np),
    }


def timing(fitted: Fitted, inference_s: float | None = None) -> dict[str, Any]:
    """Return what `timing.json` says: what differs from machine to machine.

    inference_s: of the test data, warm; None where there are none. Of a training of several seeds
    the wall time is each one's share, so that sums are right.
    """
    device = fitted.device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        name, peak = device.type, process_peak() / 2**20
    samples = fitted.steps * fitted.module.run.training.batch_size
    wall_s = fitted.wall_s / fitted.together
    return {
        "wall_s": round(wall_s, 3),
        "sittings": fitted.sittings,
        "inference_s": None if inference_s is None else round(inference_s, 6),
        "samples_per_s": round(samples / wall_s, 2),
        "seeds_together": fitted.together,
        "peak_memory_mib": round(peak, 1),
        "checkpointed": fitted.module.checkpointed,
        "device": name,
        "threads": torch.get_num_threads(),
        "commit": commit(Path(__file__)),
        "platform": platform_name(),
    }
