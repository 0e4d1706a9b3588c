"""What stops a training step on this processor, and where its time goes: `make bench ONLY=limits`.

Every 3x3 convolution of `hybrid` by itself, as the library computes it: forward, gradient to the
data, gradient to the weights, each as a share of the best rate of a matrix product in the same
run. And a profile of one training step of the plain network and of ours: seconds in an operator's
own code, operators of a kind together.

Letters: B batch, I input and O output channels, H rows, W columns.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from side_by_side import Times, command, ratio, summary, take_turns, times
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from training_step import (
    BATCH,
    SETTINGS,
    SIDE_PX,
    Data,
    best_rate,
    inference,
    make_data,
    products,
    programs,
)

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator
from ptycho_torch.runtime.markdown import number, percent, table
from ptycho_torch.train.device import keep_freed_memory

Layer = tuple[int, int, int]
"""I, O, side of a 3x3 convolution."""

PASSES = {
    "forward": None,
    "to the data": (True, False, False),
    "to the weights": (False, True, False),
}
"""Pass -> which gradients `convolution_backward` is asked for."""

KINDS = {
    "convolutions": ("mkldnn_convolution", "convolution"),
    "matrix products": ("mm", "bmm", "addmm", "baddbmm", "einsum"),
    "Fourier transforms": ("_fft",),
    "GELU": ("gelu",),
    "copies and layout": ("copy_", "cat", "fill_", "zero_", "clone", "contiguous", "index"),
    "sums and products by elements": (
        "add",
        "mul",
        "sub",
        "div",
        "sum",
        "mean",
        "abs",
        "sgn",
        "neg",
    ),
}
"""Kind -> how the names of its operators begin, behind `aten::`."""


def layers(settings: GeneratorSettings, data: Data) -> Counter[Layer]:
    """Return the 3x3 convolutions of a network and how often it has each."""
    side = data.amplitude_BCHW.shape[-1]
    network = build_generator(settings, channels=1, patch_px=side, seed=0)
    found: Counter[Layer] = Counter()

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        if layer.kernel_size == (3, 3):
            found[layer.in_channels, layer.out_channels, given[0].shape[-1]] += 1

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(note)
    inference(network, data)
    return found


def passes(layer: Layer, batch: int) -> dict[str, Callable[[], object]]:
    """Return the three passes of a convolution as the library computes them."""
    inputs, outputs, side = layer
    x_BIHW = torch.rand(batch, inputs, side, side)
    weight = torch.rand(outputs, inputs, 3, 3)
    y_BOHW = torch.rand(batch, outputs, side, side)
    pair = [1, 1]

    def run(mask: tuple[bool, bool, bool] | None) -> object:
        if mask is None:
            return nn.functional.conv2d(x_BIHW, weight, padding=1)
        return torch.ops.aten.convolution_backward(
            y_BOHW, x_BIHW, weight, [0], pair, pair, pair, False, [0, 0], 1, mask
        )

    return {name: (lambda mask=mask: run(mask)) for name, mask in PASSES.items()}


def flops(layer: Layer, batch: int) -> int:
    """Return the FLOPs of one pass: a multiplication and an addition for each of nine taps."""
    inputs, outputs, side = layer
    return 2 * 9 * inputs * outputs * side * side * batch


def profiled(step: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the seconds of a step that are spent in each kind of operator's own code."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(repeats):
            step()
    spent: dict[str, float] = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in seen.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total / 1e6 / repeats
    return spent


def kind_of(operator: str) -> str:
    """Return the kind of an operator by its name."""
    name = operator.removeprefix("aten::")
    return next((kind for kind, starts in KINDS.items() if name.startswith(starts)), "all else")


def measure(
    rounds: int = 5, settings: GeneratorSettings = SETTINGS, side: int = SIDE_PX, batch: int = BATCH
) -> dict[str, Any]:
    """Return rates of every convolution, what they add up to, and both profiles."""
    keep_freed_memory()
    data = make_data(side, batch)
    counted = layers(settings, data)
    made: dict[str, Callable[[], object]] = dict(products())
    for layer in counted:
        made |= {f"{layer} {name}": run for name, run in passes(layer, batch).items()}
    taken: Times = take_turns(made, rounds=rounds, warmups=1)
    best, median = best_rate(taken), {k: v["median_s"] for k, v in summary(taken).items()}
    found = [
        {
            "in": layer[0], "out": layer[1], "side_px": layer[2], "times": often,
            "flops": flops(layer, batch),
            "seconds": {name: median[f"{layer} {name}"] for name in PASSES},
        }
        for layer, often in sorted(counted.items(), key=lambda item: -item[0][2])
    ]  # fmt: skip
    steps = {name: run for name, run in programs(settings, data).items() if "step" in name}
    whole = take_turns(steps, rounds=rounds, warmups=1)
    return {
        "conditions": f"hybrid, N={side}, width {settings.width}, {settings.fno_blocks} blocks, "
        f"batch {batch}, fp32, {torch.get_num_threads()} threads, {rounds} rounds in turn",
        "product_flop_per_s": best,
        "convolutions": found,
        "seconds": summary(whole),
        "plain_over_ours": ratio(whole, "step, plain", "step, ours"),
        "profile": {name: profiled(run, rounds) for name, run in steps.items()},
    }


def share(result: Mapping[str, Any], name: str) -> float:
    """Return the share of the product's rate that the library's convolutions reach together."""
    rows = result["convolutions"]
    work = sum(row["flops"] * row["times"] for row in rows)
    spent = sum(row["seconds"][name] * row["times"] for row in rows)
    rate: float = result["product_flop_per_s"]
    return work / spent / rate


def tables(result: Mapping[str, Any]) -> str:
    """Return the convolutions' rates, what they leave room for, and the two profiles."""
    rate = result["product_flop_per_s"]
    rows = [
        [
            f"{row['in']} to {row['out']}, {row['side_px']} px", str(row["times"]),
            number(row["flops"] / 1e9),
            *(percent(row["flops"] / row["seconds"][name] / rate) for name in PASSES),
        ]
        for row in result["convolutions"]
    ]  # fmt: skip
    rows.append(["all of a step", "", "", *(percent(share(result, name)) for name in PASSES)])
    header = ["3x3 convolution by the library", "of them", "GFLOP a pass", *PASSES]
    steps = list(result["profile"])
    kinds = [
        [kind, *(f"{number(result['profile'][step][kind] * 1e3)} ms" for step in steps)]
        for kind in result["profile"][steps[0]]
    ]
    against = times(result["plain_over_ours"])
    bound = 1 / statistics.fmean(1 / share(result, name) for name in PASSES)
    return (
        f"{result['conditions']}. Matrix product: {number(rate / 1e9)} GFLOP/s, which is 100 %.\n\n"
        f"{table(header, rows)}\n\nA step of nothing but these convolutions by the library would "
        f"reach {percent(bound)}.\n\nOne step by kinds of operators, seconds in their own code "
        f"under the profiler (without it, plain over ours: {against}):\n\n"
        f"{table(['', *steps], kinds)}"
    )


if __name__ == "__main__":
    command("limits", measure, tables)
