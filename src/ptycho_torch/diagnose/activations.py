"""The activation monitor: how large the activations are, layer by layer, and what is in them.

Layers are a network's Fourier blocks, their spectral paths, and every module without modules in
it, in the order in which data pass them. Letters: B groups, C channels, H rows, W columns.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import geometric_mean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.diagnose.gradients import defined, ratio
from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.networks.spectral import SpectralConv


def monitor_activations(
    network: nn.Module, input_BCHW: Tensor, settings: DiagnosticsSettings
) -> dict[str, Any]:
    """Run a network once and return what its layers put out; the network is left as it was.

    `summary`: how many layers, how many flagged, the largest mean and tail, the median
    `low_freq_ratio`; `layers`: the network's transformed input first, its output last
    (`layer_statistics`); `blocks`: means, growth and shares of each Fourier block;
    `growth_per_block`: geometric mean over blocks of mean output over mean input modulus;
    `growth_with_depth`: factor a block of the straight line through the logarithms of the blocks'
    mean output moduli, which holds what lies between them as well; `spectral_local_output_ratio`
    and `dc_share`: medians over blocks; `flagged_layers`, `flagged_blocks`.
    """
    monitor = _Monitor(settings)
    # No hook is left behind, come what may.
    with ExitStack() as hooks, torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, (FourierBlock, SpectralConv)) or not list(module.children()):
                hook = partial(monitor.see, name or "network")
                hooks.callback(module.register_forward_hook(hook).remove)
        output = network(input_BCHW)
    monitor.add("output", "output", output)
    layers, blocks = monitor.layers, monitor.blocks
    flagged = [row["layer"] for row in layers if row["flags"]]
    tails = [row["p99_over_p50"] for row in layers if row["p99_over_p50"] is not None]
    growths = [row["growth"] for row in blocks]
    return {
        "summary": {
            "layers": len(layers),
            "flagged": len(flagged),
            "largest_mean": max((row["mean"] or 0.0 for row in layers), default=None),
            "largest_p99_over_p50": max(tails, default=None),
            "low_freq_ratio": _median(layers, "low_freq_ratio"),
        },
        "growth_per_block": geometric_mean(growths) if growths and all(growths) else None,
        "growth_with_depth": _slope([row["output_mean"] for row in blocks]),
        "spectral_local_output_ratio": _median(blocks, "spectral_local_ratio"),
        "dc_share": _median(blocks, "input_dc_share"),
        "flagged_layers": flagged,
        "flagged_blocks": [row["block"] for row in blocks if row["flags"]],
        "blocks": blocks,
        "layers": layers,
    }


def mean_of(parts: Sequence[Any]) -> Any:
    """Return reports of several batches as one: means of numbers, what any flags, else the first;
    a number that one batch does not have, none has."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: mean_of([part[key] for part in parts]) for key in first}
    if isinstance(first, list) and first and isinstance(first[0], dict):
        return [mean_of(rows) for rows in zip(*parts, strict=True)]
    if isinstance(first, list):
        flat = [item for part in parts for item in part]
        return list(dict.fromkeys(flat)) if all(isinstance(i, str) for i in flat) else first
    if any(part is None for part in parts):
        return None
    return float(np.mean(parts)) if isinstance(first, float) else first


class _Monitor:
    """Collects what layers and blocks put out, in the order of their calls."""

    def __init__(self, settings: DiagnosticsSettings) -> None:
        self.settings = settings
        self.layers: list[dict[str, Any]] = []
        self.blocks: list[dict[str, Any]] = []
        self.means: dict[str, float | None] = {}

    def see(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if not self.layers:
            # The first layer's input is the network's, after its input transform.
            self.add("input", "input", inputs[0])
        block = isinstance(module, FourierBlock)
        self.add(name, "block" if block else type(module).__name__, output)
        if block:
            self.add_block(name, inputs[0], output)

    def add(self, name: str, kind: str, output: Tensor) -> None:
        row = layer_statistics(output)
        self.means[name] = row["mean"]
        limits = {
            "p99_over_p50": self.settings.max_p99_over_p50,
            "dc_share": self.settings.max_dc_share,
        }
        flags = [key for key, limit in limits.items() if row[key] is not None and row[key] > limit]
        self.layers.append({"layer": name, "kind": kind, **row, "flags": flags})

    def add_block(self, name: str, x: Tensor, output: Tensor) -> None:
        update = (output - x).double()
        input_mean, output_mean = defined(float(x.abs().double().mean())), self.means[name]
        within = "" if name == "network" else f"{name}."
        paths = ratio(self.means.get(f"{within}spectral"), self.means.get(f"{within}local"))
        low = paths is not None and paths < self.settings.min_output_ratio
        self.blocks.append(
            {
                "block": name,
                "number": len(self.blocks) + 1,
                "input_mean": input_mean,
                "output_mean": output_mean,
                "growth": ratio(output_mean, input_mean),
                "update_mean": defined(float(update.mean())),
                "update_modulus": defined(float(update.abs().mean())),
                "spectral_local_ratio": paths,
                "input_dc_share": dc_share(x),
                "flags": ["spectral_local_ratio"] if low else [],
            }
        )


def layer_statistics(output: Tensor) -> dict[str, Any]:
    """Return what is in a layer's output.

    `mean`, `std`, `median`, `p95`, `p99` are of the modulus, `signed_mean` of the values (of the
    real part where they are complex). `p99_over_p50` is null where the median is zero; `dc_share`,
    `dc_over_mean` and `low_freq_ratio` are null unless the output is (B, C, H, W).
    """
    modulus = output.abs().double()
    # Quantiles are exact up to so many values; of more, every k-th is taken, k odd.
    step = -(-modulus.numel() // 2**18) | 1
    sample = output.abs().flatten()[::step].cpu().numpy()
    p50, p95, p99 = (defined(float(q)) for q in np.quantile(sample, (0.5, 0.95, 0.99)))
    framed = output.ndim == 4
    share = dc_share(output) if framed else None
    return {
        "shape": list(output.shape[1:]),
        "mean": defined(float(modulus.mean())),
        "std": defined(float(modulus.std(correction=0))),
        "median": p50,
        "p95": p95,
        "p99": p99,
        "signed_mean": defined(float(output.real.double().mean())),
        "p99_over_p50": ratio(p99, p50),
        "dc_share": share,
        "dc_over_mean": None if share is None else share * math.prod(output.shape[-2:]),
        "low_freq_ratio": low_freq_ratio(output) if framed else None,
    }


def dc_share(x_BCHW: Tensor) -> float | None:
    """Return the share of the energy that the frames' means hold: sum H W |mean|^2 / sum |x|^2.

    By Parseval it is the zero frequency's share; times H W it is that frequency's energy over the
    mean energy of a frequency. None where all is zero or something is not finite.
    """
    exact = x_BCHW.to(torch.complex128 if x_BCHW.is_complex() else torch.float64)
    means = _energy(exact.mean(dim=(-2, -1))) * math.prod(exact.shape[-2:])
    return ratio(defined(means), defined(_energy(exact)))


def low_freq_ratio(x_BCHW: Tensor) -> float | None:
    """Return the share of the energy at |frequency| <= 1 cycle per frame along both axes.

    The zero frequency is among these nine, so the share is never below `dc_share`; noise that is
    white has 9 / (H W).
    """
    rows, columns = (sorted({0, 1 % side, side - 1}) for side in x_BCHW.shape[-2:])
    low = torch.fft.fft2(x_BCHW, norm="ortho")[..., rows, :][..., columns]
    return ratio(defined(_energy(low)), defined(_energy(x_BCHW)))


def _energy(x: Tensor) -> float:
    parts = torch.view_as_real(x) if x.is_complex() else x
    return float(parts.double().square().sum())


def _median(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    known = [row[key] for row in rows if row[key] is not None]
    return float(np.median(known)) if known else None


def _slope(means: list[float | None]) -> float | None:
    """Return the factor a step of the least-squares line through the logarithms."""
    known = [math.log(mean) for mean in means if mean is not None and mean > 0]
    if len(known) != len(means) or len(known) < 2:
        return None
    return math.exp(float(np.polyfit(range(len(known)), known, 1)[0]))
