"""An arm's seeds in one batched network against the same seeds one after another.

Both train the same steps by the package's own loop (`fit` for each, `fit_seeds` for all), with
validation on as many groups as a batch has; ratios above 1 say that together is faster.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from side_by_side import command, ratio, seconds, summary, take_turns, times

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.data.batch import Groups
from ptycho_torch.data.split_scales import SplitScales
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.runtime.markdown import table
from ptycho_torch.train.fit import make_module
from ptycho_torch.train.loop import fit, fit_seeds
from ptycho_torch.train.module import FitModule

SIZES: dict[str, tuple[int, int, int]] = {
    "N=16, width 4, 2 blocks": (16, 4, 2),
    "N=32, width 8, 4 blocks": (32, 8, 4),
    "N=64, width 32, 4 blocks": (64, 32, 4),
}
"""Name -> side of the frames, width, Fourier blocks."""


def study(side: int, width: int, blocks: int, *, seeds: int, batch: int) -> dict[str, Any]:
    """Return a study of one arm as plain data."""
    return {
        "title": "benchmark",
        "protocol": "small",
        "datasets": {
            "data": {
                "source": "simulated", "patch_px": side, "images_per_split": 1,
                "photons": 1e9, "noise": "poisson",
                "object": {"size_px": 4 * side, "num_lines": 50, "set_phi": True},
                "probe": {"shape": "triangle"},
                "scan": {"gridsize": 1, "train_step_px": 4, "test_step_px": 4},
            }
        },
        "generator": {
            "name": "hybrid", "width": width, "fno_blocks": blocks, "modes": min(12, side // 4),
        },
        "training": {
            "epochs": 1, "batch_size": batch, "loss": "mae",
            "optimizer": {"name": "adam", "learning_rate": 1e-3}, "schedule": {"name": "constant"},
        },
        "execution": {"accelerator": "auto", "clip": {"gradient_clip_algorithm": "none"}},
        "arms": {
            "control": {"hypothesis": "none"},
            "norm": {
                "hypothesis": "none",
                "execution": {"clip": {"gradient_clip_algorithm": "norm", "max_norm": 1.0}},
            },
        },
        "stage_a": {
            "dataset": "data", "control": "control", "arms": ["control", "norm"], "seeds": seeds,
        },
    }  # fmt: skip


def modules(plan: Mapping[str, Any], amplitude_nCHW: torch.Tensor) -> list[FitModule]:
    """Return a fresh module for each seed of the control."""
    parsed = parse_study(dict(plan), "benchmark")
    groups = {split: Groups(amplitude_nCHW) for split in ("train", "validation")}
    scales = {split: SplitScales(1.0, float(amplitude_nCHW.mean()), 1.0) for split in groups}
    probe = torch.ones(1, *amplitude_nCHW.shape[-2:], dtype=torch.complex64)
    return [
        make_module(
            run_settings(parsed, "data", "control", seed),
            groups,
            scales,
            probe_MHW=probe,
            input_scale=1.0,
        )
        for seed in stage_plan(parsed, "stage_a").seed_list
    ]


def programs(
    size: tuple[int, int, int], *, seeds: int, batch: int, steps: int
) -> dict[str, Callable[[], object]]:
    """Return the two ways of training, from fresh networks each time they are called."""
    side = size[0]
    stream = torch.Generator().manual_seed(0)
    phase = torch.rand(batch * steps, 1, side, side, generator=stream)
    patches = torch.polar(torch.ones_like(phase), phase)
    amplitude = amplitudes(patches, torch.ones(1, side, side, dtype=torch.complex64))
    train, validation = Groups(amplitude), Groups(amplitude[:batch])
    make = partial(modules, study(*size, seeds=seeds, batch=batch), amplitude)
    return {
        "apart": lambda: [fit(module, train, validation) for module in make()],
        "together": lambda: fit_seeds(make(), train, validation),
    }


def measure(
    sizes: Sequence[str] = tuple(SIZES), seeds: int = 5, batch: int = 16, steps: int = 10,
    rounds: int = 3,
) -> dict[str, Any]:  # fmt: skip
    """Return times and ratios by size."""
    found = {}
    for name in sizes:
        steps_here = steps if SIZES[name][0] < 64 else max(steps // 5, 1)
        made = programs(SIZES[name], seeds=seeds, batch=batch, steps=steps_here)
        taken = take_turns(made, rounds=rounds, warmups=1)
        found[name] = {
            "steps": steps_here,
            "seconds": summary(taken),
            "apart_over_together": ratio(taken, "apart", "together"),
        }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"seeds": seeds, "batch": batch, "device": device, "sizes": found}


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per size."""
    rows = [
        [
            f"{name}, {size['steps']} steps",
            seconds(size["seconds"]["apart"]),
            seconds(size["seconds"]["together"]),
            times(size["apart_over_together"]),
        ]
        for name, size in result["sizes"].items()
    ]
    header = ["`hybrid`", "one after another", "together", "apart / together"]
    about = f"{result['seeds']} seeds, batches of {result['batch']}, on the {result['device']}."
    return f"{table(header, rows)}\n\n{about}"


if __name__ == "__main__":
    command("together", measure, tables)
