"""What is looked at in a network: the gradients of its weights, and what its layers put out.

The modulus of a spectral weight's gradient is that of the complex number (networks/layers.py);
biases are left out. Layers are a network's Fourier blocks, their spectral paths, and every module
without modules in it, in the order in which data pass them.

Letters: B groups, C channels, H rows, W columns.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import geometric_mean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.files.io import finite_or_none
from ptycho_torch.networks.layers import (
    FourierBlock,
    SpectralConv,
    fourier_blocks,
    mean_moduli,
    spectral_modulus,
)


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above / below; None if either is not defined or `below` is not positive."""
    if above is None or below is None or not below > 0:
        return None
    return finite_or_none(above / below)


def probe_gradients(
    network: nn.Module, loss: Callable[[], Tensor], *, min_ratio: float
) -> dict[str, Any]:
    """Return how large the gradients of spectral and of local weights are: the numbers of
    `gradient_report.json` (docs/reference/files.md), all null without a Fourier block.

    `loss` computes the loss from the network, with gradient. The network, its weights and the
    gradients that they may hold are left as they were.
    """
    blocks = fourier_blocks(network)
    if not blocks:
        nothing = _compare([None, None], min_ratio) | {"undefined": "it has no Fourier block"}
        return {**nothing, "loss": None, "blocks": []}
    weights = [w for b in blocks.values() for w in (b.spectral.weight, b.local.weight)]
    with torch.enable_grad():
        value = loss()
        gradients = torch.autograd.grad(value, weights, materialize_grads=True)
    pairs = list(zip(gradients[::2], gradients[1::2], strict=True))
    rows = [
        {
            "block": name or "network",
            **_compare(mean_moduli([(spectral, local)]).tolist(), min_ratio),
            "spectral_gradients": weight_statistics(spectral_modulus(spectral)),
            "local_gradients": weight_statistics(local.abs()),
            "spectral_weights": weight_statistics(spectral_modulus(block.spectral.weight.detach())),
            "local_weights": weight_statistics(block.local.weight.detach().abs()),
            "norm_weights": gate_statistics(block),
        }
        for (name, block), (spectral, local) in zip(blocks.items(), pairs, strict=True)
    ]
    return {
        **_compare(mean_moduli(pairs).tolist(), min_ratio),
        "loss": finite_or_none(float(value.detach())),
        "blocks": rows,
    }


def gate_statistics(block: FourierBlock) -> dict[str, Any] | None:
    """Return what the weights of a block's norm let through, times its scale where it has one:
    statistics of their moduli, and the share that passes on less than a hundredth of its block
    (`near_zero`); None for a block without them."""
    if (norm := getattr(block, "norm", None)) is None:
        return None
    gates = (norm.weight * getattr(block, "scale", 1.0)).detach().abs()
    return {**weight_statistics(gates), "near_zero": float((gates < 0.01).float().mean())}


def _compare(moduli: list[float | None], min_ratio: float) -> dict[str, Any]:
    spectral, local = moduli
    value = ratio(spectral, local)
    undefined = None
    if value is None:
        undefined = "a gradient is not finite, or the local ones are zero"
        if spectral == 0 == local:
            undefined = "neither kind of weight has a gradient: the block's norm or scale is zero"
    return {
        "spectral_grad_mean": finite_or_none(spectral),
        "local_grad_mean": finite_or_none(local),
        "spectral_local_ratio": value,
        "flagged": None if value is None else value < min_ratio,
        "undefined": undefined,
    }


def weight_statistics(modulus: Tensor) -> dict[str, Any]:
    """Return number, mean, standard deviation, root mean square and maximum of moduli."""
    modulus = modulus.double()
    return {
        "count": modulus.numel(),
        "mean": finite_or_none(float(modulus.mean())),
        "std": finite_or_none(float(modulus.std(correction=0))),
        "rms": finite_or_none(float(modulus.square().mean().sqrt())),
        "max": finite_or_none(float(modulus.max())),
    }


def monitor_activations(
    network: nn.Module, input_BCHW: Tensor, settings: DiagnosticsSettings
) -> dict[str, Any]:
    """Run a network once and return what its layers put out; the network is left as it was.

    The numbers are those of `activation_report.json` (docs/study.md); `layers` has the network's
    transformed input first, its output last.
    """
    layers: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []

    def see(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if not layers:
            # The first layer's input is the network's, after its input transform.
            layers.append(_layer("input", "input", inputs[0], settings))
        kind = "block" if isinstance(module, FourierBlock) else type(module).__name__
        layers.append(_layer(name, kind, output, settings))
        if kind == "block":
            means = {row["layer"]: row["mean"] for row in layers}
            blocks.append(_block(name, inputs[0], output, means, settings))

    # No hook is left behind, come what may.
    with ExitStack() as hooks, torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, (FourierBlock, SpectralConv)) or not list(module.children()):
                hooks.enter_context(module.register_forward_hook(partial(see, name or "network")))
        layers.append(_layer("output", "output", network(input_BCHW), settings))
    flagged = [row.get("layer") or row["block"] for row in layers + blocks if row["flags"]]
    growths = [row["growth"] for row in blocks]
    return {
        "summary": {
            "layers": len(layers),
            "flagged": flagged,
            "largest_mean": max(_known(layers, "mean"), default=None),
            "low_freq_ratio": _median(layers, "low_freq_ratio"),
        },
        "growth_per_block": geometric_mean(growths) if growths and all(growths) else None,
        "spectral_local_output_ratio": _median(blocks, "spectral_local_ratio"),
        "dc_share": _median(blocks, "input_dc_share"),
        "blocks": blocks,
        "layers": layers,
    }


def _layer(name: str, kind: str, output: Tensor, settings: DiagnosticsSettings) -> dict[str, Any]:
    row = layer_statistics(output)
    limits = {"p99_over_p50": settings.max_p99_over_p50, "dc_share": settings.max_dc_share}
    flags = [key for key, limit in limits.items() if row[key] is not None and row[key] > limit]
    return {"layer": name, "kind": kind, **row, "flags": flags}


def _block(
    name: str, x: Tensor, output: Tensor, means: dict[str, Any], settings: DiagnosticsSettings
) -> dict[str, Any]:
    input_mean = finite_or_none(float(x.abs().double().mean()))
    within = "" if name == "network" else f"{name}."
    paths = ratio(means.get(f"{within}spectral"), means.get(f"{within}local"))
    low = paths is not None and paths < settings.min_output_ratio
    return {
        "block": name,
        "input_mean": input_mean,
        "output_mean": means[name],
        "growth": ratio(means[name], input_mean),
        "update_mean": finite_or_none(float((output - x).double().mean())),
        "spectral_local_ratio": paths,
        "input_dc_share": dc_share(x),
        "flags": ["spectral_local_ratio"] if low else [],
    }


def layer_statistics(output: Tensor) -> dict[str, Any]:
    """Return what is in a layer's output: numbers of its modulus (`p99_over_p50` is null where the
    median is zero), and shares of energy, which are null unless it is (B, C, H, W)."""
    modulus = output.abs().double()
    # Quantiles are exact up to so many values; of more, every k-th is taken, k odd.
    step = -(-modulus.numel() // 2**18) | 1
    sample = output.abs().flatten()[::step].cpu().numpy()
    p50, p95, p99 = (finite_or_none(float(q)) for q in np.quantile(sample, (0.5, 0.95, 0.99)))
    framed = output.ndim == 4
    return {
        "shape": list(output.shape[1:]),
        "mean": finite_or_none(float(modulus.mean())),
        "std": finite_or_none(float(modulus.std(correction=0))),
        "median": p50,
        "p95": p95,
        "p99": p99,
        "p99_over_p50": ratio(p99, p50),
        "dc_share": dc_share(output) if framed else None,
        "low_freq_ratio": low_freq_ratio(output) if framed else None,
    }


def dc_share(x_BCHW: Tensor) -> float | None:
    """Return the share of the energy that the frames' means hold: sum H W |mean|^2 / sum |x|^2; by
    Parseval the zero frequency's share. None where all is zero or something is not finite."""
    exact = x_BCHW.to(torch.complex128 if x_BCHW.is_complex() else torch.float64)
    means = _energy(exact.mean(dim=(-2, -1))) * math.prod(exact.shape[-2:])
    return ratio(finite_or_none(means), finite_or_none(_energy(exact)))


def low_freq_ratio(x_BCHW: Tensor) -> float | None:
    """Return the share of the energy at |frequency| <= 1 cycle per frame along both axes, the zero
    frequency included; white noise has 9 / (H W)."""
    rows, columns = (sorted({0, 1 % side, side - 1}) for side in x_BCHW.shape[-2:])
    low = torch.fft.fft2(x_BCHW, norm="ortho")[..., rows, :][..., columns]
    return ratio(finite_or_none(_energy(low)), finite_or_none(_energy(x_BCHW)))


def _energy(x: Tensor) -> float:
    parts = torch.view_as_real(x) if x.is_complex() else x
    return float(parts.double().square().sum())


def _known(rows: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [row[key] for row in rows if row[key] is not None]


def _median(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    return float(np.median(known)) if (known := _known(rows, key)) else None
