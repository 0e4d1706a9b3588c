"""How a training step's time and memory grow: `make bench ONLY=growth`.

From one middle size each of width, patch size, depth and batch is varied alone. The sizes of an
axis take turns; a time is that of the package's network, physics, MAE loss, backward pass, clipping
and optimiser (`training_step`). Memory is what lives at most in a step beside weights and
optimiser, counted by the plan (docs/plan.md), not measured. Each axis ends with the power p that
its two largest sizes make: twice the size takes 2^p times as much.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from side_by_side import command, seconds, summary, take_turns
from training_step import LEARNING_RATE, make_data, training_step

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.read import parse_study
from ptycho_torch.networks import build_generator
from ptycho_torch.runtime.markdown import number, table
from ptycho_torch.train.cost.count import footprint
from ptycho_torch.train.cost.workload import Workload


@dataclass(frozen=True)
class Size:
    """Of a network and its batch; pixels, groups."""

    width: int = 16
    patch_px: int = 64
    blocks: int = 4
    batch: int = 8


MIDDLE = Size()
AXES: dict[str, tuple[int, ...]] = {
    "width": (8, 16, 32, 64),
    "patch_px": (32, 64, 128),
    "blocks": (2, 4, 8),
    "batch": (4, 8, 16, 32),
}


def generator(size: Size) -> GeneratorSettings:
    """Return the network of a size."""
    return GeneratorSettings(name="hybrid", width=size.width, fno_blocks=size.blocks, modes=12)


def step(size: Size) -> Any:
    """Return a training step as a program."""
    data = make_data(size.patch_px, size.batch)
    network = build_generator(generator(size), channels=1, patch_px=size.patch_px, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    return lambda: training_step(network, optimizer, data)


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


def counted(size: Size) -> dict[str, float]:
    """Return GFLOP and MiB of a step, and weights in millions."""
    plan = study(size.patch_px, size.width, size.blocks, seeds=1, batch=size.batch)
    plan["generator"] = generator(size).model_dump()
    plan["execution"]["accelerator"] = "cpu"
    run = run_settings(parse_study(plan, "benchmark"), "data", "control", 0)
    groups = {"train": size.batch, "validation": size.batch, "test": size.batch}
    work = Workload(patch_px=size.patch_px, channels=1, groups=groups, reach_px=0)
    found = footprint(run, work)
    return {
        "gflop": found.flops / 1e9,
        "memory_mib": found.step / 2**20,
        "parameters_m": found.parameters["stored"] / 1e6,
    }


def measure(
    axes: Mapping[str, Sequence[int]] = AXES, middle: Size = MIDDLE, rounds: int = 5
) -> dict[str, Any]:
    """Return times and memory by axis and size."""
    found = {}
    for axis, values in axes.items():
        sizes = {str(value): replace(middle, **{axis: value}) for value in values}
        taken = take_turns({k: step(size) for k, size in sizes.items()}, rounds=rounds, warmups=1)
        found[axis] = {
            name: {"seconds": timed, **counted(sizes[name])}
            for name, timed in summary(taken).items()
        }
    return {"middle": asdict(middle), "rounds": rounds, "axes": found}


def power(axis: Mapping[str, Mapping[str, Any]], quantity: str) -> float:
    """Return p: the quantity of the two largest sizes grows as size^p."""
    values = {int(name): row for name, row in axis.items()}
    small, large = sorted(values)[-2:]

    def of(row: Mapping[str, Any]) -> float:
        return row["seconds"]["median_s"] if quantity == "seconds" else row[quantity]

    return math.log(of(values[large]) / of(values[small])) / math.log(large / small)


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per size, and the powers of each axis below."""
    rows, powers = [], []
    for axis, sizes in result["axes"].items():
        for name, row in sizes.items():
            rate = row["gflop"] / row["seconds"]["median_s"]
            rows.append(
                [
                    axis, name, number(row["parameters_m"]), number(row["gflop"]),
                    seconds(row["seconds"]), number(rate), number(row["memory_mib"]),
                ]
            )  # fmt: skip
        powers.append(
            [axis, *(number(power(sizes, q), 2) for q in ("seconds", "gflop", "memory_mib"))]
        )
    header = ["varied", "size", "weights, M", "GFLOP", "step", "GFLOP/s", "memory, MiB (counted)"]
    middle = ", ".join(f"{name} {value}" for name, value in result["middle"].items())
    about = f"`hybrid`, 12 modes, fp32; all else as in {middle}; {result['rounds']} rounds in turn."
    below = table(["varied", "power of time", "of operations", "of memory"], powers)
    return f"{about}\n\n{table(header, rows)}\n\n{below}"


if __name__ == "__main__":
    command("growth", measure, tables)
