"""Runs that were never made: their files as docs/reference/files.md describes them, with planted answers."""

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import Study, run_settings
from ptycho_torch.files import io
from ptycho_torch.report.collect import KINDS
from ptycho_torch.statistics.scores import BLOCK_NAMES

CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"
DATASET = "triangle_n32"
CHECKSUMS = {"train": "a" * 64, "validation": "b" * 64, "test": "c" * 64}
EPOCHS, STEPS = 10, 64
NO_PHASE = {n: "the truth has no phase" for n in BLOCK_NAMES if n.startswith("phase")}
LOSS = {"control": 0.080, "stable": 0.060, "agc": 0.082, "norm1": 0.100}
PROVENANCE = {"command": "snakemake stage_a_summary --cores 4", "commit": "0123abc", "python": "3.11",
              "platform": "Linux", "versions": {"numpy": "2"}}  # fmt: skip


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
    conventional: bool = False
    alike_within: float = 0.1

    @cached_property
    def config(self) -> dict[str, Any]:
        study = copy.deepcopy(load_yaml(CONFIG))
        study["protocol"] = self.protocol
        study["stage_a"]["seeds"] = self.seeds
        study["sweeps"]["clip_sweep"]["alike_within"] = self.alike_within
        study["datasets"][DATASET]["object"]["set_phi"] = self.set_phi
        return study

    @cached_property
    def study(self) -> Study:
        return parse_study(self.config, "planted")


def _scores(ssim: float, set_phi: bool) -> dict[str, float | None]:
    """Every score follows from the SSIM; the complex error falls as it rises."""
    block: dict[str, float | None] = dict.fromkeys(BLOCK_NAMES, ssim)
    block |= dict.fromkeys(NO_PHASE, None if not set_phi else ssim - 0.05)
    return block | {"complex_error": 1 - ssim, "complex_error_synchronised": 1 - ssim}


class Run:
    """A run's files."""

    def __init__(self, plan: Plan, arm: str, seed: int) -> None:
        self.plan, self.arm, self.seed = plan, arm, seed
        self.key = {"dataset": DATASET, "arm": arm, "seed": seed}
        self.outcome = plan.outcomes.get((arm, seed), "completed")
        self.epochs = {"non_finite": 0, "exploded": 4}.get(self.outcome, EPOCHS)
        self.stopped = self.outcome in ("non_finite", "exploded")
        # A variant's loss is its base's if none is planted for it. Seeds differ a lot, arms at one
        # seed by little: only pairing sees the planted difference.
        loss = plan.loss.get(arm, plan.loss.get(arm.split("-")[0], 0.09))
        self.loss = loss * (1 + 0.05 * seed) * (1 + 0.002 * ((seed * 7 + len(arm)) % 5))
        step = self.epochs * STEPS + 7
        self.failure = {"epoch": self.epochs + 1, "step": step, "reason": "the loss is NaN"}

    def record(self) -> dict[str, Any]:
        settings = run_settings(self.plan.study, DATASET, self.arm, self.seed)
        norms = {"median": 0.5, "p99": 4.0, "max": 39.0 + self.seed}
        losses = ("best_val_loss", "last_val_loss", "best_mae_val_loss")
        return {
            **self.key,
            **dict.fromkeys(losses, self.loss if self.epochs else None),
            "settings": settings.model_dump(mode="json"),
            "dataset_sha256": CHECKSUMS,
            "outcome": self.outcome if self.stopped else "completed",
            "failure": self.failure if self.stopped else None,
            "epochs": self.epochs,
            "steps": self.epochs * STEPS,
            "val_loss_name": "mae_val_loss",
            "best_epoch": self.epochs or None,
            "first_loss": 1.4,
            "parameters": {"stored": 900_000, "full": 1_234_567},
            "flops_per_step": 890_000_000,
            "gradient_norm": norms if self.epochs else dict.fromkeys(norms),
            "loss_spikes": 3 if self.arm == "control" else 0,
            "clipped_share": 0.25 if self.arm in ("agc", "norm1") else 0.0,
            "versions": {"torch": "2.13.0"},
        }

    def timing(self) -> dict[str, Any]:
        return {
            **{"wall_s": 20.0 + self.seed, "inference_s": 0.5 + self.seed, "samples_per_s": 500.0},
            **{"peak_memory_mib": 700.0, "device": "cpu", "commit": "0123abcd", "threads": 2},
            "platform": "Linux x86_64, 2 CPU cores",
        }

    def metrics(self) -> dict[str, Any]:
        set_phi, unscored = self.plan.set_phi, self.epochs == 0
        ssim = 0.98 - 3 * self.loss if self.outcome == "completed" else 0.28
        block = dict.fromkeys(BLOCK_NAMES) if unscored else _scores(ssim, set_phi)
        undefined = {} if set_phi else NO_PHASE
        return {
            **self.key,
            "settings": self.plan.study.evaluation.model_dump(mode="json"),
            "outcome": self.outcome,
            "failure": self.failure if self.stopped else None,
            "reason": f"planted as {self.outcome} | with a pipe",
            "twin": {"share": 0.9 if self.outcome == "twin" else 0.02},
            "best": block,
            "last": block,
            "constant": _scores(0.277, set_phi),
            "truth": _scores(1.0, set_phi),
            "undefined": dict.fromkeys(BLOCK_NAMES, "no epoch ended") if unscored else undefined,
        }

    def history(self) -> pd.DataFrame:
        epoch = np.arange(1, self.epochs + 1)
        val = self.loss * (1 + 4 * np.exp(-epoch / 2) - 4 * np.exp(-self.epochs / 2))
        norms = dict.fromkeys(("grad_norm_median", "grad_norm_max", "clipped_share"), 0.5)
        return pd.DataFrame({
            "epoch": epoch, "step": epoch * STEPS, "learning_rate": 2e-3,
            "mae_train_loss": 0.9 * val, "mae_val_loss": val, "poisson_val_loss": 1.1 * val,
            "grad_norm_p99": float(self.plan.gradient.get(self.arm, 4)), **norms,
        })  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        rows, columns = np.mgrid[0:40, 0:40]
        truth = (1 + 0.5 * np.sin(rows / 4) * np.cos(columns / 5))[None]
        drawn = truth + 0.3 * self.loss * np.random.default_rng(self.seed).normal(size=truth.shape)
        if self.outcome == "collapsed":
            drawn = np.full_like(truth, truth.mean())
        if self.epochs == 0:
            drawn = np.full_like(truth, np.nan)
        shown = {"amplitude": drawn, "phase": drawn - 0.9, "phase_synchronised": drawn - 1}
        shown |= {"truth_amplitude": truth, "truth_phase": truth - 1}
        return {name: array.astype(np.float32) for name, array in shown.items()}


def write_study(folder: Path, plan: Plan) -> dict[str, Any]:
    """Write every file of a study; return the keywords of `summarise_stage` but the folder."""
    stage = stage_plan(plan.study, plan.stage, plan.winner)
    files: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for arm in stage.arms:
        for seed in plan.seeds:
            run, place = Run(plan, arm, seed), folder / DATASET / arm / f"seed-{seed}"
            place.mkdir(parents=True)
            for kind, name in KINDS.items():
                files[kind].append(place / name)
            io.write_json(place / "run.json", run.record())
            io.write_json(place / "timing.json", run.timing())
            io.write_json(place / "metrics.json", run.metrics())
            run.history().to_csv(place / "history.csv", index=False)
            np.savez(place / "reconstruction.npz", **run.arrays())
    splits = {
        split: {"sha256": sha, "noise_floor": 0.0048, "constant_loss": 0.289}
        for split, sha in CHECKSUMS.items()
    }
    settings = plan.study.datasets[DATASET].published()
    record = folder / "dataset.json"
    io.write_json(record, {"splits": splits, "patch_px": 32, "settings": settings})
    given = {"files": files, "dataset": record, "study": plan.config, "stage": plan.stage}
    given["provenance"] = PROVENANCE
    if plan.conventional:
        given["conventional"] = write_conventional(folder / "rpie", plan)
    if plan.stage == "stage_b":
        io.write_json(folder / "winner.json", {"winner": plan.winner})
        given["winner"] = folder / "winner.json"
    return given


def write_conventional(folder: Path, plan: Plan) -> list[Path]:
    """Write what rPIE's files hold: iterations 1, 10 and 100 at 0.1, 1 and 10 s."""
    scored = [
        {"iteration": n, "seconds": n / 10, "error": 0.1 / n, **_scores(ssim, plan.set_phi)}
        for n, ssim in ((1, 0.5), (10, 0.9), (100, 0.999))
    ]
    settings = plan.study.conventional.model_dump(mode="json")
    progress = {"scored": scored, "settings": settings, "dataset_sha256": CHECKSUMS,
                "iterations": 100, "device": "cpu", "threads": 1}  # fmt: skip
    undefined = {} if plan.set_phi else NO_PHASE
    best = _scores(0.999, plan.set_phi)
    metrics = {"best": best, "undefined": undefined, "outcome": "completed"}
    folder.mkdir()
    io.write_json(folder / "metrics.json", metrics)
    io.write_json(folder / "progress.json", progress)
    np.savez(folder / "reconstruction.npz", **Run(plan, "control", 0).arrays())
    return [folder / name for name in ("metrics.json", "progress.json", "reconstruction.npz")]
