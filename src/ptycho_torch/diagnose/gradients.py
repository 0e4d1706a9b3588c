"""The gradient probe: do the spectral weights of a network learn beside the local ones?

One forward and backward pass of the training loss on a sample. The modulus of a spectral weight's
gradient is that of the complex number (generators/probing.py). Biases are left out.

Letters: B batch, C channels, H rows, W columns.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ptycho_torch.diagnose.numbers import defined, ratio
from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.networks.probing import fourier_blocks, mean_moduli, spectral_modulus


def probe_gradients(
    network: nn.Module, loss: Callable[[], Tensor], *, min_ratio: float
) -> dict[str, Any]:
    """Return how large the gradients of spectral and of local weights are.

    The network, its weights and the gradients that they may hold are left as they were.

    Parameters
    ----------
    network
        With at least one Fourier block, else every number is null and `undefined` says so.
    loss
        Computes the loss from the network, with gradient.
    min_ratio
        Spectral over local is flagged below this.

    Returns
    -------
    dict
        `spectral_grad_mean`, `local_grad_mean`: mean modulus over all weights of all blocks;
        `spectral_local_ratio` of the two; `flagged`; `undefined`; `loss`; and `blocks`, each with
        the same keys, `spectral_weights` and `local_weights`.
    """
    blocks = fourier_blocks(network)
    if not blocks:
        nothing = _ratio_of(None, None, min_ratio, "the network has no Fourier block")
        return {**nothing, "loss": None, "flagged_blocks": [], "blocks": []}
    weights = [w for b in blocks.values() for w in (b.spectral.weight, b.local.weight)]
    with torch.enable_grad():
        value = loss()
        found = torch.autograd.grad(value, weights, allow_unused=True)
    known = [_or_zero(gradient, w) for gradient, w in zip(found, weights, strict=True)]
    gradients = dict(zip(blocks, zip(known[::2], known[1::2], strict=True), strict=True))
    spectral, local = mean_moduli(gradients.values())
    rows = [_block(name, block, gradients[name], min_ratio) for name, block in blocks.items()]
    return {
        **_ratio_of(spectral, local, min_ratio),
        "loss": defined(float(value.detach())),
        "flagged_blocks": [row["block"] for row in rows if row["flagged"]],
        "blocks": rows,
    }


def _or_zero(gradient: Tensor | None, weight: Tensor) -> Tensor:
    """Return a gradient; zero for a weight that the loss does not depend on."""
    return torch.zeros_like(weight) if gradient is None else gradient


def _block(
    name: str, block: FourierBlock, gradients: tuple[Tensor, Tensor], min_ratio: float
) -> dict[str, Any]:
    spectral, local = mean_moduli([gradients])
    return {
        "block": name or "network",
        "channels": block.local.out_channels,
        "side_px": block.spectral.size_px[0],
        **_ratio_of(spectral, local, min_ratio),
        "spectral_weights": weight_statistics(spectral_modulus(block.spectral.weight.detach())),
        "local_weights": weight_statistics(block.local.weight.detach().abs()),
    }


def _ratio_of(
    spectral: float | None, local: float | None, min_ratio: float, undefined: str | None = None
) -> dict[str, Any]:
    value = ratio(spectral, local)
    if undefined is None and value is None:
        undefined = (
            "neither kind of weight has a gradient: the block's norm or scale is zero"
            if spectral == 0 == local
            else "a gradient is not finite, or the local ones are zero"
        )
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
