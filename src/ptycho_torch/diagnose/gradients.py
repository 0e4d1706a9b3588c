"""The gradient probe: do the spectral weights of a network learn beside the local ones?

One forward and backward pass of the training loss on a sample. The modulus of a spectral weight's
gradient is that of the complex number (networks/blocks.py). Biases are left out.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ptycho_torch.files.io import finite_or_none
from ptycho_torch.networks.blocks import FourierBlock, fourier_blocks, mean_moduli, spectral_modulus


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above / below; None if either is not defined or `below` is not positive."""
    if above is None or below is None or not below > 0:
        return None
    return finite_or_none(above / below)


def probe_gradients(
    network: nn.Module, loss: Callable[[], Tensor], *, min_ratio: float
) -> dict[str, Any]:
    """Return how large the gradients of spectral and of local weights are.

    `loss` computes the loss from the network, with gradient. The network, its weights and the
    gradients that they may hold are left as they were. Without a Fourier block all is null.

    `spectral_grad_mean`, `local_grad_mean`: mean modulus over all weights of all blocks;
    `spectral_local_ratio` of the two; `flagged`: it is below `min_ratio`; `undefined`: why there is
    no ratio; `loss`; and `blocks`, each with the same keys, `weight_statistics` of
    `spectral_gradients`, `local_gradients`, `spectral_weights` and `local_weights`, and
    `norm_weights` (`gate_statistics`).
    """
    blocks = fourier_blocks(network)
    if not blocks:
        nothing = _compare([None, None], min_ratio) | {"undefined": "it has no Fourier block"}
        return {**nothing, "loss": None, "flagged_blocks": [], "blocks": []}
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
