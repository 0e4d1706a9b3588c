"""The activation monitor: how large the activations are, layer by layer, and what is in them.

Layers are a network's Fourier blocks, their spectral paths, and every module without modules in
it, in the order in which data pass them. Nothing is kept of an activation but numbers.

Letters: B groups, C channels, H rows, W columns.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.diagnose.numbers import defined, geometric_mean, ratio
from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.networks.spectral import SpectralConv

QUANTILE_VALUES = 2**18
"""Quantiles are exact up to so many values; of more, every k-th is taken, k odd."""

_ITSELF = "network"
"""What the network itself is called, where it is a block or a layer."""


def monitor_activations(
    network: nn.Module, input_BCHW: Tensor, settings: DiagnosticsSettings
) -> dict[str, Any]:
    """Run a network once and return what its layers put out; the network is left as it was.

    Parameters
    ----------
    network
        Any; without Fourier blocks `blocks` is empty and `growth` null.
    input_BCHW
        What enters it.
    settings
        Thresholds of the flags.

    Returns
    -------
    dict
        `layers`: the network's transformed input first, its output last (`layer_statistics`);
        `blocks` (`_block_row`); `growth_per_block`: geometric mean over blocks of mean output over
        mean input modulus; `growth_with_depth`: factor a block of the straight line through the
        logarithms of the blocks' mean output moduli, which holds what lies between them as well;
        `spectral_local_output_ratio` and `dc_share`: medians over blocks; `flagged_layers`.
    """
    watch = _Watch(settings)
    with watched(network, watch), torch.no_grad():
        output = network(input_BCHW)
    watch.add("output", "output", output)
    blocks = watch.blocks
    growth = [row["growth"] for row in blocks]
    return {
        "growth_per_block": geometric_mean(growth) if blocks else None,
        "growth_with_depth": _slope([row["output_mean"] for row in blocks]),
        "spectral_local_output_ratio": _median([r["spectral_local_ratio"] for r in blocks]),
        "dc_share": _median([row["input_dc_share"] for row in blocks]),
        "flagged_layers": [row["layer"] for row in watch.layers if row["flags"]],
        "flagged_blocks": [row["block"] for row in blocks if row["flags"]],
        "blocks": blocks,
        "layers": watch.layers,
    }


@contextmanager
def watched(network: nn.Module, watch: "_Watch") -> Iterator[None]:
    """Show `watch` every layer's output within the block; no hook is left behind, come what may."""
    handles = []
    try:
        for name, module in network.named_modules():
            if isinstance(module, (FourierBlock, SpectralConv)) or not list(module.children()):
                handles.append(module.register_forward_hook(_hook(name, watch)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, watch: "_Watch") -> Any:
    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            watch.see(name, module, inputs[0], output.detach())

    return look


class _Watch:
    """Collects what layers and blocks put out, in the order of their calls."""

    def __init__(self, settings: DiagnosticsSettings) -> None:
        self.settings = settings
        self.layers: list[dict[str, Any]] = []
        self.blocks: list[dict[str, Any]] = []
        self._means: dict[str, float | None] = {}

    def see(self, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        if not self.layers:
            # The first layer's input is the network's, after its input transform.
            self.add("input", "input", x)
        block = isinstance(module, FourierBlock)
        self.add(name, "block" if block else type(module).__name__, output)
        if block:
            self._add_block(name, x, output)

    def add(self, name: str, kind: str, output: Tensor) -> None:
        row = layer_statistics(output)
        self._means[name] = row["mean"]
        flags = []
        if _above(row["p99_over_p50"], self.settings.max_p99_over_p50):
            flags.append("p99_over_p50")
        if _above(row["dc_share"], self.settings.max_dc_share):
            flags.append("dc_share")
        self.layers.append({"layer": name or _ITSELF, "kind": kind, **row, "flags": flags})

    def _add_block(self, name: str, x: Tensor, output: Tensor) -> None:
        update = output - x
        input_mean, output_mean = defined(_mean(x.abs())), self._means[name]
        within = f"{name}." if name else ""
        paths = ratio(self._means.get(f"{within}spectral"), self._means.get(f"{within}local"))
        low = paths is not None and paths < self.settings.min_output_ratio
        self.blocks.append(
            {
                "block": name or _ITSELF,
                "number": len(self.blocks) + 1,
                "input_mean": input_mean,
                "output_mean": output_mean,
                "growth": ratio(output_mean, input_mean),
                "update_mean": defined(_mean(update)),
                "update_modulus": defined(_mean(update.abs())),
                "spectral_local_ratio": paths,
                "input_dc_share": dc_share(x),
                "flags": ["spectral_local_ratio"] if low else [],
            }
        )


def layer_statistics(output: Tensor) -> dict[str, Any]:
    """Return what is in a layer's output.

    `mean`, `std`, `median`, `p95`, `p99` are of the modulus, `signed_mean` of the values (of the
    real part where they are complex). `p99_over_p50`: null where the median is zero. `dc_share`,
    `dc_over_mean`, `low_frequency_share`: see `dc_share` and `low_frequency_share`; null unless
    the output is (B, C, H, W).
    """
    framed = output.ndim == 4
    parts = _real_parts(output)
    exact = parts.double()  # Once for all sums: half of the time goes into conversions.
    energy = float(exact.square().sum())
    share = _share_of_means(exact, energy) if framed else None
    modulus = output.abs().flatten()
    size = (exact.abs() if parts is output else output.abs().double()).flatten()
    step = -(-modulus.numel() // QUANTILE_VALUES) | 1
    p50, p95, p99 = quantiles(modulus[::step], (0.5, 0.95, 0.99))
    pixels = math.prod(output.shape[-2:]) if framed else 0
    return {
        "shape": list(output.shape[1:]),
        "mean": defined(float(size.mean())),
        "std": defined(float(size.std(correction=0))),
        "median": defined(p50),
        "p95": defined(p95),
        "p99": defined(p99),
        "signed_mean": defined(float(exact.mean()) if parts is output else _mean(output.real)),
        "p99_over_p50": ratio(defined(p99), defined(p50)),
        "dc_share": share,
        "dc_over_mean": None if share is None else share * pixels,
        "low_frequency_share": _share_of_lowest(parts, energy) if framed else None,
    }


def quantiles(values: Tensor, levels: Sequence[float]) -> list[float]:
    """Return what `torch.quantile` returns, which sorts all values to read a few; NaN if any is."""
    data = values.detach().cpu()
    ranks = torch.tensor(levels, dtype=data.dtype) * (data.numel() - 1)
    below, above = ranks.long(), ranks.ceil().long()
    wanted = {*below.tolist(), *above.tolist(), data.numel() - 1}
    placed = torch.from_numpy(np.partition(data.numpy(), sorted(wanted)))
    if placed[-1].isnan():
        return [math.nan] * len(levels)
    found: list[float] = placed[below].lerp(placed[above], ranks - below).tolist()
    return found


def dc_share(x_BCHW: Tensor) -> float | None:
    """Return the share of the energy that the frames' means hold: sum H W |mean|^2 / sum |x|^2.

    By Parseval it is the zero frequency's share; times H W it is that frequency's energy over the
    mean energy of a frequency. None where all is zero or something is not finite.
    """
    exact = _real_parts(x_BCHW).double()
    return _share_of_means(exact, float(exact.square().sum()))


def low_frequency_share(x_BCHW: Tensor) -> float | None:
    """Return the share of the energy at |frequency| <= 1 cycle per frame along both axes.

    The zero frequency is among these nine, so the share is never below `dc_share`; noise that is
    white has 9 / (H W).
    """
    parts = _real_parts(x_BCHW)
    return _share_of_lowest(parts, float(parts.double().square().sum()))


def _real_parts(x: Tensor) -> Tensor:
    """Return real and imaginary parts along a new first axis; what is real as it is."""
    return torch.view_as_real(x).movedim(-1, 0) if x.is_complex() else x


def _share_of_means(exact: Tensor, energy: float) -> float | None:
    means = exact.mean(dim=(-2, -1)).square().sum()
    return ratio(defined(float(means) * math.prod(exact.shape[-2:])), defined(energy))


def _share_of_lowest(x: Tensor, energy: float) -> float | None:
    rows, columns = (_lowest_waves(side, x) for side in x.shape[-2:])
    low = float((rows @ x @ columns.mT).double().square().sum())
    return ratio(defined(low), defined(energy))


def _lowest_waves(side: int, like: Tensor) -> Tensor:
    """Return orthonormal rows that span frequencies -1, 0 and 1 of so many pixels."""
    if side < 3:
        return torch.eye(side, dtype=like.dtype, device=like.device)
    angle = 2 * math.pi * torch.arange(side, dtype=like.dtype, device=like.device) / side
    root = 2**0.5
    waves = [torch.ones_like(angle), root * angle.cos(), root * angle.sin()]
    return torch.stack(waves) / side**0.5


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _above(value: float | None, threshold: float) -> bool:
    return value is not None and value > threshold


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(torch.tensor(known, dtype=torch.float64).quantile(0.5)) if known else None


def _slope(means: list[float | None]) -> float | None:
    """Return the factor a step of the least-squares line through the logarithms."""
    known = [math.log(mean) for mean in means if mean is not None and mean > 0]
    if len(known) != len(means) or len(known) < 2:
        return None
    centre = (len(known) - 1) / 2
    places = [place - centre for place in range(len(known))]
    slope = math.fsum(p * v for p, v in zip(places, known, strict=True))
    return math.exp(slope / math.fsum(p * p for p in places))
