"""What each faster way of a training step saves, and what does not pay: `make bench ONLY=ways`.

The step of `training_step` with one of its ways taken back at a time; the plain network with one
remedy that is often named; and ours by torch's compiler. All take turns. The weight gradient of a
3x3 convolution, the library's slowest pass, is tried by itself in two other ways, which a test
holds to be equal to it.

Letters: B batch, I input and O output channels, H rows, W columns.
"""

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import torch
from plain_network import plain_network
from side_by_side import command, ratio, seconds, summary, take_turns, times
from torch import Tensor, nn
from torch.nn.functional import pad, unfold
from training_step import (
    BATCH,
    LEARNING_RATE,
    SETTINGS,
    SIDE_PX,
    Data,
    make_data,
    training_step,
)

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator, convolution
from ptycho_torch.networks.spectral import SpectralConv
from ptycho_torch.runtime.markdown import number, table
from ptycho_torch.train.device import keep_freed_memory

Program = Callable[[], object]
OURS, PLAIN = "ours", "plain"
LAYER = (64, 32, 64)
"""I, O and side of the convolution whose weight gradient is tried: the network's largest."""


def by_library(program: Program) -> Program:
    """Return a program that runs with every 3x3 convolution by the library."""

    def run() -> object:
        with patch.object(convolution.Conv3x3, "forward", nn.Conv2d.forward):
            return program()

    return run


def step_of(network: nn.Module, data: Data, *, fused: bool) -> Program:
    """Return a training step of a network with an Adam of its own."""
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=fused)
    return lambda: training_step(network, adam, data)


def programs(settings: GeneratorSettings, data: Data, *, compiled: bool) -> dict[str, Program]:
    """Return every way of a training step, from the same weights."""
    side = data.amplitude_BCHW.shape[-1]

    def ours() -> nn.Module:
        return build_generator(settings, channels=1, patch_px=side, seed=0)

    def plain() -> nn.Module:
        return plain_network(ours(), settings, channels=1, patch_px=side)

    def own(**keywords: bool) -> Program:
        return step_of(ours(), data, fused=keywords.get("fused", True))

    whole = ours()
    for layer in whole.modules():
        if isinstance(layer, SpectralConv):
            layer.by_products = False
    last = nn.Module.to(plain(), memory_format=torch.channels_last)
    made = {
        OURS: own(),
        "ours, 3x3 by the library": by_library(own()),
        "ours, whole Fourier transforms": step_of(whole, data, fused=True),
        "ours, Adam not fused": own(fused=False),
        PLAIN: step_of(plain(), data, fused=False),
        "plain, channels innermost": step_of(last, data, fused=False),
    }
    if compiled:
        # The plain network has complex tensors, which the compiler leaves as they are.
        network = ours()
        network.compile()
        made["ours, compiled"] = step_of(network, data, fused=True)
    return made


def weight_gradients(layer: tuple[int, int, int], batch: int) -> dict[str, Program]:
    """Return three ways to a 3x3 convolution's weight gradient, (O, I, 3, 3)."""
    inputs, outputs, side = layer
    x_BIHW = torch.rand(batch, inputs, side, side)
    y_BOHW = torch.rand(batch, outputs, side, side)
    weight = torch.rand(outputs, inputs, 3, 3)
    pair, mask = [1, 1], (False, True, False)

    def library() -> Tensor:
        found: Tensor = torch.ops.aten.convolution_backward(
            y_BOHW, x_BIHW, weight, [0], pair, pair, pair, False, [0, 0], 1, mask
        )[1]
        return found

    def by_columns() -> Tensor:
        columns = unfold(x_BIHW, 3, padding=1)
        return torch.bmm(y_BOHW.flatten(2), columns.mT).sum(dim=0).view_as(weight)

    def by_taps() -> Tensor:
        x_IHWB = pad(x_BIHW, (1, 1, 1, 1)).permute(1, 2, 3, 0).contiguous()
        y_ON = y_BOHW.permute(1, 2, 3, 0).reshape(outputs, -1)
        taps = [
            y_ON @ x_IHWB[:, row : row + side, column : column + side].reshape(inputs, -1).T
            for row in range(3)
            for column in range(3)
        ]
        return torch.stack(taps, dim=-1).view_as(weight)

    return {"the library": library, "one product of columns": by_columns, "nine of taps": by_taps}


def measure(
    rounds: int = 5,
    settings: GeneratorSettings = SETTINGS,
    side: int = SIDE_PX,
    batch: int = BATCH,
    *,
    compiled: bool = True,
) -> dict[str, Any]:
    """Return the seconds of each way, and each in units of ours or of the library's."""
    keep_freed_memory()
    made = programs(settings, make_data(side, batch), compiled=compiled)
    taken = take_turns(made, rounds=rounds, warmups=2)
    gradients = weight_gradients(LAYER, batch)
    spent = take_turns(gradients, rounds=rounds, warmups=1)
    inputs, outputs, length = LAYER
    return {
        "conditions": f"hybrid, N={side}, width {settings.width}, {settings.fno_blocks} blocks, "
        f"batch {batch}, fp32, {torch.get_num_threads()} threads, {rounds} rounds in turn",
        "seconds": summary(taken),
        "units": {name: ratio(taken, name, name.split(", ")[0]) for name in made},
        "gradient": f"{inputs} to {outputs} channels, {length} px, batch {batch}",
        "gradient_flops": 2 * 9 * inputs * outputs * length**2 * batch,
        "gradient_seconds": summary(spent),
        "gradient_units": {name: ratio(spent, name, "the library") for name in gradients},
    }


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per way, and the weight gradient's."""
    rows = [
        [name, seconds(taken), "" if name in (OURS, PLAIN) else times(result["units"][name])]
        for name, taken in result["seconds"].items()
    ]
    steps = table(["training step", "time", "in units of ours, or of the plain one"], rows)
    gradients = [
        [
            name,
            seconds(taken),
            number(result["gradient_flops"] / taken["median_s"] / 1e9),
            times(result["gradient_units"][name]),
        ]
        for name, taken in result["gradient_seconds"].items()
    ]
    header = ["weight gradient", "time", "GFLOP/s", "in units of the library's"]
    return (
        f"{result['conditions']}.\n\n{steps}\n\nThe weight gradient of one 3x3 convolution, "
        f"{result['gradient']}:\n\n{table(header, gradients)}"
    )


if __name__ == "__main__":
    command("ways", measure, tables)
