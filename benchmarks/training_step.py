"""A training step and an inference of `hybrid` against the plain network, and against the machine:
`make bench ONLY=training_step`.

N = 64, width 32, 4 blocks, 12 modes, batch 16, fp32, and bf16 where the processor knows it. A step
is forward, physics, MAE loss, backward, clip by the global norm, optimiser. All take turns; the
share of the machine's rate is FLOPs / seconds over the best rate that a product reached in the same
run. FLOPs are those of the plain network's convolutions and matrix products, as
`torch.utils.flop_counter` counts them (no FFT; a complex product as a real one), for both programs:
work that a faster way saves is not held against it.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from plain_network import plain_network
from side_by_side import Goal, Times, command, ratio, seconds, summary, take_turns, times
from side_by_side import table as markdown_table
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.runtime.markdown import number, percent
from ptycho_torch.train.device import keep_freed_memory

SETTINGS = GeneratorSettings(name="hybrid", width=32, fno_blocks=4, modes=12)
SIDE_PX, BATCH = 64, 16
PRODUCTS = (1024, 2048)
"""Sides of the square matrix products that say what the machine can do."""

LEARNING_RATE, MAX_NORM = 1e-4, 1.0


class HalfPrecision(nn.Module):
    """A network in bfloat16, as `PtychoModule` runs it; the physics after it is not."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return object patches."""
        with torch.autocast(amplitude_BCHW.device.type, torch.bfloat16):
            return self.network(amplitude_BCHW)


@dataclass(frozen=True)
class Data:
    """One batch and the probe that it was taken with."""

    amplitude_BCHW: Tensor
    probe_MHW: Tensor


def make_data(side_px: int, batch: int) -> Data:
    """Return amplitudes of random patches through a smooth probe."""
    stream = torch.Generator().manual_seed(0)
    axis = torch.linspace(-2, 2, side_px)
    probe_MHW = torch.exp(-(axis[:, None] ** 2) - axis**2).to(torch.complex64)[None]
    phase = torch.rand(batch, 1, side_px, side_px, generator=stream)
    return Data(amplitudes(torch.polar(torch.ones_like(phase), phase), probe_MHW), probe_MHW)


def training_step(network: nn.Module, optimizer: Optimizer, data: Data) -> Tensor:
    """Take one step and return its loss."""
    found = amplitudes(network(data.amplitude_BCHW), data.probe_MHW)
    loss = (found - data.amplitude_BCHW).abs().mean()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def inference(network: nn.Module, data: Data) -> Tensor:
    """Return the patches of a batch."""
    with torch.inference_mode():
        return network(data.amplitude_BCHW)


def programs(settings: GeneratorSettings, data: Data) -> dict[str, Callable[[], Tensor]]:
    """Return step and inference of both networks, from the same weights; a step of ours in bf16 as
    well, where the processor multiplies in it.

    The plain step is torch's own Adam as it comes; ours asks for the fused one.
    """
    side = data.amplitude_BCHW.shape[-1]
    ours = build_generator(settings, channels=1, patch_px=side, seed=0)
    plain = plain_network(ours, settings, channels=1, patch_px=side)
    our_adam = torch.optim.Adam(ours.parameters(), lr=LEARNING_RATE, fused=True)
    plain_adam = torch.optim.Adam(plain.parameters(), lr=LEARNING_RATE)
    reduced = HalfPrecision(build_generator(settings, channels=1, patch_px=side, seed=0))
    bf16_adam = torch.optim.Adam(reduced.parameters(), lr=LEARNING_RATE, fused=True)
    in_bf16 = {"step, ours in bf16": lambda: training_step(reduced, bf16_adam, data)}
    return (in_bf16 if knows_bf16() else {}) | {
        "step, ours": lambda: training_step(ours, our_adam, data),
        "step, plain": lambda: training_step(plain, plain_adam, data),
        "inference, ours": lambda: inference(ours, data),
        "inference, plain": lambda: inference(plain, data),
    }


def products() -> dict[str, Callable[[], Tensor]]:
    """Return the matrix products, as programs."""

    def product(side: int) -> Callable[[], Tensor]:
        matrix = torch.rand(side, side)
        return lambda: matrix @ matrix

    return {f"product, {side}": product(side) for side in PRODUCTS}


def count_flops(program: Callable[[], object]) -> int:
    """Return the FLOPs of a program's convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        program()
    return int(counter.get_total_flops())


def best_rate(taken: Times) -> float:
    """Return the best rate of a matrix product in any round, FLOP/s."""
    return max(2 * side**3 / min(taken[f"product, {side}"]) for side in PRODUCTS)


def measure(rounds: int = 11) -> dict[str, Any]:
    """Return times, ratios and rates."""
    keep_freed_memory()  # As the training job does; both programs gain.
    made = programs(SETTINGS, make_data(SIDE_PX, BATCH))
    flops = {kind: count_flops(made[f"{kind}, plain"]) for kind in ("step", "inference")}
    taken = take_turns(made | products(), rounds=rounds, warmups=2)
    best = best_rate(taken)
    return {
        "conditions": f"hybrid, N={SIDE_PX}, width {SETTINGS.width}, {SETTINGS.fno_blocks} blocks, "
        f"{SETTINGS.modes} modes, batch {BATCH}, fp32, {torch.get_num_threads()} threads, "
        f"{rounds} rounds in turn",
        "seconds": summary(taken),
        "plain_over": {
            name: ratio(taken, f"{kind_of(name)}, plain", name)
            for name in made
            if not name.endswith("plain")
        },
        "flops": flops,
        "product_flop_per_s": best,
        "share_of_product_rate": {
            name: {
                "median": flops[kind_of(name)] / statistics.median(taken[name]) / best,
                "best": flops[kind_of(name)] / min(taken[name]) / best,
            }
            for name in made
        },
    }


def kind_of(name: str) -> str:
    """Return whether a program is a `step` or an `inference`."""
    return name.split(", ")[0]


def knows_bf16() -> bool:
    """Return whether the processor multiplies in bf16; others imitate it, which takes longer."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per program, and how many times as long the plain one takes."""
    rows = []
    for name, share in result["share_of_product_rate"].items():
        against = times(result["plain_over"][name]) if name in result["plain_over"] else ""
        used = seconds(result["seconds"][name])
        rows.append([*name.split(", "), used, percent(share["median"]), against])
    header = ["", "program", "time", "share of the product's rate in fp32", "plain's time over it"]
    rate = number(result["product_flop_per_s"] / 1e9)
    work = ", ".join(f"{kind} {number(n / 1e9)} GFLOP" for kind, n in result["flops"].items())
    bf16 = " bf16: not measured, the processor has neither AMX nor AVX512-BF16."
    if "step, ours in bf16" in result["plain_over"]:
        bf16 = ""
    return (
        f"{result['conditions']}. Matrix product: {rate} GFLOP/s. Work: {work}.{bf16}\n\n"
        f"{markdown_table(header, rows)}"
    )


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the step's share of the machine's rate, and the reference's time over its own."""
    share = result["share_of_product_rate"]["step, ours"]["median"]
    plain, bf16 = (result["plain_over"].get(f"step, ours{name}") for name in ("", " in bf16"))
    reached = "not measured: not on this processor" if bf16 is None else times(bf16)
    return [
        Goal(
            "training step in fp32 over the matrix product's rate",
            "90 %",
            percent(share),
            share >= 0.9,
        ),
        Goal(
            "training step in fp32, times as fast as the plain one",
            "1.25",
            times(plain),
            plain["median"] >= 1.25,
        ),
        Goal(
            "training step in bf16, times as fast as the plain one",
            "3",
            reached,
            bf16 is not None and bf16["median"] >= 3,
        ),
    ]


if __name__ == "__main__":
    command("training_step", measure, tables)
