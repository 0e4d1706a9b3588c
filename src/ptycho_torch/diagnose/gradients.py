"""The gradient probe: do the spectral weights of a network learn beside the local ones?

One forward and backward pass of the training loss on a sample. The modulus of a spectral weight's
gradient is that of the complex number (networks/probing.py). Biases are left out.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.networks.probing import fourier_blocks, mean_moduli, spectral_modulus


def defined(value: float | None) -> float | None:
    """Return a finite number; None for NaN and infinity, which have no place in JSON."""
    return value if value is not None and math.isfinite(value) else None


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above / below; None if either is not defined or `below` is not positive."""
    if above is None or below is None or not below > 0:
        return None
    return defined(above / below)


def probe_gradients(
    network: nn.Module, loss: Callable[[], Tensor], *, min_ratio: float
) -> dict[str, Any]:
    """Return how large the gradients of spectral and of local weights are.

    `loss` computes the loss from the network, with gradient. The network, its weights and the
    gradients that they may hold are left as they were. Without a Fourier block all is null.

    `spectral_grad_mean`, `local_grad_mean`: mean modulus over all weights of all blocks;
    `spectral_local_ratio` of the two; `flagged`: it is below `min_ratio`; `undefined`: why there is
    no ratio; `loss`; and `blocks`, each with the same keys and number, mean, std, rms and max of
    `spectral_gradients`, `local_gradients`, `spectral_weights`, `local_weights`, and of
    `norm_weights` (`gate_statistics`).
    """
    blocks = fourier_blocks(network)
    if not blocks:
        nothing = _compare([None, None], min_ratio)
        nothing["undefined"] = "the network has no Fourier block"
        return {**nothing, "loss": None, "flagged_blocks": [], "blocks": []}
    weights = [w for b in blocks.values() for w in (b.spectral.weight, b.local.weight)]
    with torch.enable_grad():
        value = loss()
        gradients = torch.autograd.grad(value, weights, materialize_grads=True)
    pairs = list(zip(gradients[::2], gradients[1::2], strict=True))
    parts = [
        {
            "spectral_gradients": spectral_modulus(spectral),
            "local_gradients": local.abs(),
            "spectral_weights": spectral_modulus(block.spectral.weight.detach()),
            "local_weights": block.local.weight.detach().abs(),
        }
        for block, (spectral, local) in zip(blocks.values(), pairs, strict=True)
    ]
    rows = [
        {
            "block": name or "network",
            "channels": block.local.out_channels,
            "side_px": block.spectral.size_px[0],
            **_compare(mean_moduli([pair]).tolist(), min_ratio),
            **{kind: weight_statistics(modulus) for kind, modulus in part.items()},
            "norm_weights": gate_statistics(block),
        }
        for (name, block), pair, part in zip(blocks.items(), pairs, parts, strict=True)
    ]
    return {
        **_compare(mean_moduli(pairs).tolist(), min_ratio),
        **{
            kind: weight_statistics(torch.cat([part[kind].flatten() for part in parts]))
            for kind in parts[0]
        },
        "loss": defined(float(value.detach())),
        "flagged_blocks": [row["block"] for row in rows if row["flagged"]],
        "blocks": rows,
    }


def gate_statistics(block: FourierBlock) -> dict[str, Any] | None:
    """Return what the weights of a block's norm let through, times its scale where it has one:
    statistics of their moduli, and the share that passes on less than a hundredth of its block
    (`near_zero`); None for a block without them."""
    norm, scale = getattr(block, "norm", None), getattr(block, "scale", None)
    if norm is None:
        return None
    gates = norm.weight.detach().abs() * (1.0 if scale is None else scale.detach().abs())
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
        "spectral_grad_mean": defined(spectral),
        "local_grad_mean": defined(local),
        "spectral_local_ratio": value,
        "flagged": None if value is None else value < min_ratio,
        "undefined": undefined,
    }


def weight_statistics(modulus: Tensor) -> dict[str, Any]:
    """Return number, mean, standard deviation, root mean square and maximum of moduli."""
    modulus = modulus.double()
    return {
        "count": modulus.numel(),
        "mean": defined(float(modulus.mean())),
        "std": defined(float(modulus.std(correction=0))),
        "rms": defined(float(modulus.square().mean().sqrt())),
        "max": defined(float(modulus.max())),
    }
