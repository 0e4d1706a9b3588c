"""Runs that were never made: their files as docs/reference/files.md describes them, with planted answers."""

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.files import io

CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"
CHECKSUMS = {
    split: letter * 64 for split, letter in zip(("train", "validation", "test"), "abc", strict=True)
}
IMAGES = ("amplitude", "phase", "phase_synchronised")
KINDS = ("ssim", "mae", "psnr_db", "pearson_r", "std_ratio", "frc_half", "frc_seventh")
EPOCHS = 10
STEPS = 64
NO_PHASE = "the truth has no phase"
LOSS = {"control": 0.080, "stable": 0.060, "agc": 0.082, "norm1": 0.100}


@dataclass
class Plan:
    """What is planted."""

    seeds: list[int]
    outcomes: dict[tuple[str, int], str] = field(default_factory=dict)
    loss: dict[str, float] = field(default_factory=lambda: dict(LOSS))
    set_phi: bool = True
    protocol: str = "small"
    stage: str = "stage_a"
    winner: str = "stable"
    gradient: dict[str, float] = field(default_factory=dict)
    conventional: dict[str, Any] | None = None

    @cached_property
    def study(self) -> Study:
        """The study, parsed."""
        return parse_study(config_of(self), "planted")

    def settings(self, arm: str) -> dict[str, Any]:
        """What a run of an arm was trained with."""
        return run_settings(self.study, "triangle_n32", arm, seed=0).model_dump(mode="json")

    def loss_of(self, arm: str) -> float:
        """The planted loss of an arm; of a variant, of its base if none is planted for it."""
        return self.loss.get(arm, self.loss.get(arm.split("-")[0], 0.09))


def config_of(plan: Plan) -> dict[str, Any]:
    study = copy.deepcopy(load_yaml(CONFIG))
    study["protocol"] = plan.protocol
    study["stage_a"]["seeds"] = plan.seeds
    study["datasets"]["triangle_n32"]["object"]["set_phi"] = plan.set_phi
    return study


def _scores(ssim: float, set_phi: bool) -> dict[str, float | None]:
    values = {
        "ssim": ssim,
        "mae": 0.5 - ssim / 2,
        "psnr_db": 20 * ssim,
        "pearson_r": ssim,
        "std_ratio": 0.97,
        "frc_half": 0.4 * ssim,
        "frc_seventh": 0.45 * ssim,
    }
    block: dict[str, float | None] = {}
    for image in IMAGES:
        shift = {"amplitude": 0.0, "phase": -0.10, "phase_synchronised": -0.05}[image]
        for kind in KINDS:
            hidden = image != "amplitude" and not set_phi
            block[f"{image}_{kind}"] = None if hidden else values[kind] + shift
    return {
        **block,
        "complex_error": 1 - ssim,
        "complex_error_synchronised": 1 - ssim,
        "amplitude_factor": 1.0,
        "amplitude_ssim_reassembled": ssim,
    }


def _picture(seed: int) -> np.ndarray:
    rows, columns = np.mgrid[0:40, 0:40]
    return (1 + 0.5 * np.sin(rows / 4) * np.cos(columns / 5) + 0.02 * seed).astype(np.float32)


class Run:
    def __init__(self, plan: Plan, arm: str, seed: int) -> None:
        self.plan, self.arm, self.seed = plan, arm, seed
        self.outcome = plan.outcomes.get((arm, seed), "completed")
        self.epochs = (
            0 if self.outcome == "non_finite" else 4 if self.outcome == "exploded" else EPOCHS
        )
        self.stopped = self.outcome in ("non_finite", "exploded")
        # Seeds differ a lot, arms at one seed by little: only pairing sees the planted difference.
        self.loss = (
            plan.loss_of(arm) * (1 + 0.05 * seed) * (1 + 0.002 * ((seed * 7 + len(arm)) % 5))
        )
        self.failure = (
            {"epoch": self.epochs + 1, "step": self.epochs * STEPS + 7, "reason": "the loss is NaN"}
            if self.stopped
            else None
        )

    def record(self) -> dict[str, Any]:
        some = self.epochs > 0
        return {
            "dataset": "triangle_n32",
            "arm": self.arm,
            "seed": self.seed,
            "settings": self.plan.settings(self.arm),
            "dataset_sha256": CHECKSUMS,
            "outcome": self.outcome if self.stopped else "completed",
            "failure": self.failure,
            "epochs": self.epochs,
            "steps": self.epochs * STEPS,
            "val_loss_name": "mae_val_loss",
            "best_epoch": self.epochs if some else None,
            "best_val_loss": self.loss if some else None,
            "last_val_loss": self.loss if some else None,
            "best_mae_val_loss": self.loss if some else None,
            "first_loss": 1.4,
            "parameters": {"stored": 900_000, "full": 1_234_567},
            "gradient_norm": {"median": 0.5, "p99": 4.0, "max": 39.0 + self.seed}
            if some
            else {"median": None, "p99": None, "max": None},
            "loss_spikes": 3 if self.arm == "control" else 0,
            "clipped_share": 0.25 if self.arm in ("agc", "norm1") else 0.0,
            "versions": {"torch": "2.13.0"},
        }

    def timing(self) -> dict[str, Any]:
        return {
            "wall_s": 20.0 + self.seed,
            "inference_s": 0.5 + self.seed,
            "samples_per_s": 500.0,
            "peak_memory_mib": 700.0,
            "device": "cpu",
            "commit": "0123abcd",
            "platform": "Linux x86_64, 2 CPU cores",
            "threads": 2,
        }

    def metrics(self) -> dict[str, Any]:
        set_phi = self.plan.set_phi
        ssim = 0.98 - 3 * self.loss if self.outcome == "completed" else 0.28
        unscored = self.epochs == 0
        undefined = {f"{i}_{k}": NO_PHASE for i in IMAGES[1:] for k in KINDS} if not set_phi else {}
        undefined["constant.amplitude_pearson_r"] = "one image is constant"
        if unscored:
            undefined |= dict.fromkeys(_scores(0, True), "no epoch ended")
        block = dict.fromkeys(_scores(0, True)) if unscored else _scores(ssim, set_phi)
        return {
            "dataset": "triangle_n32",
            "arm": self.arm,
            "seed": self.seed,
            "outcome": self.outcome,
            "failure": self.failure,
            "reason": f"planted as {self.outcome} | with a pipe",
            "best_val_loss": self.loss,
            "last_val_loss": self.loss,
            "twin": {
                "share": 0.9 if self.outcome == "twin" else 0.02,
                "distinct_patches": 300,
                "patches": 400,
                "direct_correlation": 0.97,
                "twin_correlation": 0.6,
                "truth_twin_correlation": 0.67,
                "overlap_direct": 0.9,
                "overlap_twin": 0.5,
            },
            "best": block,
            "last": block,
            "constant": {**_scores(0.277, set_phi), "amplitude_pearson_r": None},
            "truth": _scores(1.0, set_phi),
            "turned_back": None,
            "undefined": undefined,
            "frc": {"cycles_per_px": [0.0, 0.5], "amplitude": [1.0, 0.4], "phase": None},
        }

    def history(self) -> str:
        names = ["epoch", "step", "learning_rate", "mae_train_loss", "mae_val_loss"]
        names += ["poisson_val_loss", "grad_norm_median", "grad_norm_p99", "grad_norm_max"]
        names += ["clipped_grad_norm_median", "clipped_grad_norm_max", "clipped_share"]
        lines = [",".join(names)]
        for epoch in range(1, self.epochs + 1):
            val = self.loss * (1 + 4 * np.exp(-epoch / 2) - 4 * np.exp(-self.epochs / 2))
            p99 = self.plan.gradient.get(self.arm, 4)
            row = [
                epoch,
                epoch * STEPS,
                2e-3,
                0.9 * val,
                val,
                1.1 * val,
                0.5,
                p99,
                39,
                0.5,
                30,
                0.1,
            ]
            lines.append(",".join(str(value) for value in row))
        return "\n".join(lines) + "\n"

    def arrays(self) -> dict[str, np.ndarray]:
        truth = _picture(0)[None]
        drawn = truth + 0.3 * self.loss * np.random.default_rng(self.seed).normal(size=truth.shape)
        if self.outcome == "collapsed":
            drawn = np.full_like(truth, truth.mean())
        if self.epochs == 0:
            drawn = np.full_like(truth, np.nan)
        phase = drawn - 1 if self.plan.set_phi else np.zeros_like(truth)
        arrays = {
            "amplitude": drawn,
            "phase": phase + 0.1,
            "phase_synchronised": phase,
            "truth_amplitude": truth,
            "truth_phase": truth - 1 if self.plan.set_phi else np.zeros_like(truth),
        }
        return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_conventional(folder: Path, plan: Plan) -> list[Path]:
    """Write what rPIE's two files hold: iterations 1, 10 and 100 at 0.1, 1 and 10 s."""
    scored = [
        {
            "iteration": number,
            "seconds": number / 10,
            "error": 0.1 / number,
            "amplitude_ssim": ssim,
            "phase_synchronised_ssim": ssim if plan.set_phi else None,
            "complex_error_synchronised": 1 - ssim,
        }
        for number, ssim in ((1, 0.5), (10, 0.9), (100, 0.999))
    ]
    progress = {
        "scored": scored,
        "settings": {"refine_probe": False},
        "dataset_sha256": CHECKSUMS,
        "r_factor": 0.00123,
        "iterations": 100,
        "device": "cpu",
        "threads": 1,
        **(plan.conventional or {}),
    }
    metrics = {
        "best": _scores(0.999, plan.set_phi),
        "undefined": {},
        "outcome": "completed",
    }
    if not plan.set_phi:
        metrics["undefined"] = {f"{i}_{k}": NO_PHASE for i in IMAGES[1:] for k in KINDS}
    folder.mkdir()
    io.write_json(folder / "metrics.json", metrics)
    io.write_json(folder / "progress.json", progress)
    return [folder / "metrics.json", folder / "progress.json"]
