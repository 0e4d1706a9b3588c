"""Settings of networks and trainings: what of a training of three steps each one changes."""

import copy
import hashlib

import torch

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.training import TrainingData
from ptycho_torch.networks import build_generator
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule
from ptycho_torch.train.record import run_record

BASE = {
    "dataset": "tiny",
    "patch_px": 16,
    "arm": "control",
    "seed": 0,
    "generator": {"name": "hybrid", "width": 2, "fno_blocks": 2, "modes": 2},
    "training": {
        "epochs": 1,
        "batch_size": 8,
        "loss": "mae",
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "schedule": {"name": "constant"},
    },
    "execution": {
        "accelerator": "cpu",
        "threads": 1,
        "clip": {"gradient_clip_algorithm": "none"},
    },
}
ADAM = ("training.optimizer", {"name": "adam", "learning_rate": 0.01})
ADAMW = ("training.optimizer", {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1})
AGC = ("execution.clip", {"gradient_clip_algorithm": "agc", "max_ratio": 0.001})
# A step size that throws the loss far beyond its start.
WILD = ("training.optimizer.learning_rate", 1e3)


def settings_with(*changes):
    settings = copy.deepcopy(BASE)
    for key, value in changes:
        *blocks, last = key.split(".")
        block = settings
        for name in blocks:
            block = block[name]
        block[last] = copy.deepcopy(value)
    return settings


def trained(tools, *changes):
    """Return a checksum of a training's weights, and its outcome, epochs and steps."""
    key = repr(changes)
    if key not in tools.trained:
        run = RunSettings.model_validate(settings_with(*changes))
        grid = 2 if ("data", 2) in changes else 1
        data = TrainingData.of_splits(
            dict(zip(("train", "validation"), tools.splits[grid], strict=True))
        )
        module = PtychoModule(run, data)
        fitted = fit(module, data.train, data.validation)
        weights = [value.numpy().tobytes() for value in fitted.last.weights.values()]
        record = run_record(fitted)
        tools.trained[key] = (
            hashlib.sha256(repr((weights, fitted.last.gain)).encode()).hexdigest(),
            (record["outcome"], record["epochs"], record["steps"]),
        )
    return tools.trained[key]


def differs(key, value, *base):
    """Return a flip that must leave other weights behind."""

    def flip(tools):
        assert trained(tools, *base)[0] != trained(tools, *base, (key, value))[0]

    return flip


def ends(key, value, *base):
    """Return a flip that must end the run otherwise, or at another step."""

    def flip(tools):
        assert trained(tools, *base)[1] != trained(tools, *base, (key, value))[1]

    return flip


def network(key, value, **base):
    """Return a flip that must give another network, or make it see or say something else."""

    def flip(tools):
        made = []
        for changed in ({}, {key: value}):
            settings = {**BASE["generator"], "fno_blocks": 3, **base, **changed}
            built = build_generator(
                GeneratorSettings.model_validate(settings), channels=1, patch_px=16, seed=0
            )
            seen = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1)) + 0.1
            with torch.no_grad():
                made.append(built(seen).numpy().tobytes())
        assert made[0] != made[1]

    return flip


def each(flip, kind, block, values, *base):
    return {f"{kind}.{key}": flip(f"{block}{key}", value, *base) for key, value in values.items()}


OPTIMIZER = "training.optimizer."
FLIPS = {
    **each(network, "GeneratorSettings", "", {
        "name": "stable_hybrid", "width": 4, "fno_blocks": 4, "levels": 1, "modes": 3,
        "spectral_rows": "two_sided", "channel_cap": 2, "input_transform": "sqrt",
        "output_mode": "amplitude_phase",
    }),
    **each(differs, "Adam", OPTIMIZER, {"learning_rate": 0.02, "beta1": 0.5, "beta2": 0.5}, ADAM),
    **each(differs, "AdamW", OPTIMIZER, {"weight_decay": 0.5}, ADAMW),
    **each(differs, "SGD", OPTIMIZER, {"learning_rate": 0.2, "momentum": 0.0}),
    **each(differs, "AdaptiveClip", "execution.clip.",
           {"max_ratio": 0.002, "min_weight_norm": 1.0}, AGC),
    **each(differs, "TrainingSettings", "training.", {
        "loss": "poisson", "input_scaling": "statistical", "intensity_scale": "learned",
    }),
    **each(ends, "TrainingSettings", "training.", {"epochs": 2, "batch_size": 12}),
    "TrainingSettings.explode_factor": ends(
        "training.explode_factor", 1e30, WILD, ("training.explode_patience_steps", 1)
    ),
    "TrainingSettings.explode_patience_steps": ends("training.explode_patience_steps", 1, WILD),
    "RunSettings.seed": differs("seed", 1),
}  # fmt: skip
