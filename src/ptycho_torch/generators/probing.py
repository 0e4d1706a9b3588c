"""What can be asked of a network's Fourier blocks, in training and in diagnoses alike.

Spectral weights are stored as pairs of real numbers, (R, K, I, 2, O): the modulus of a weight, and
of its gradient, is that of the complex number. For a real loss L the pair (dL/dRe, dL/dIm) is what
torch would give as the gradient of a complex weight. Every stored mode is one that the data touch,
so no dead mode dilutes a mean.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ptycho_torch.generators.blocks import FourierBlock

_PAIR = 3
"""Axis of real and imaginary part in a spectral weight."""


def fourier_blocks(network: nn.Module) -> dict[str, FourierBlock]:
    """Return a network's Fourier blocks by name, in the order in which data pass them."""
    return {name: m for name, m in network.named_modules() if isinstance(m, FourierBlock)}


def spectral_modulus(pairs: Tensor) -> Tensor:
    """Return the moduli (R, K, I, O) of weights or gradients stored as (R, K, I, 2, O)."""
    # Twenty times as fast on a CPU as the norm along this axis, which lies inside.
    return torch.hypot(*pairs.unbind(_PAIR))


def mean_moduli(gradients: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Return the mean gradient modulus of spectral and of local weights, each over all blocks.

    Parameters
    ----------
    gradients
        Of each block: of its spectral weights, and of its 3x3 convolution's (without bias). At
        least one block.
    """
    moduli = [(spectral_modulus(spectral), local.abs()) for spectral, local in gradients]
    spectral, local = zip(*moduli, strict=True)
    # Both numbers are fetched from the device at once.
    sums = torch.stack([torch.stack([m.sum() for m in kind]).sum() for kind in (spectral, local)])
    spectral_sum, local_sum = sums.tolist()
    spectral_count, local_count = (sum(m.numel() for m in kind) for kind in (spectral, local))
    return spectral_sum / spectral_count, local_sum / local_count


def gradient_ratio(blocks: Iterable[FourierBlock]) -> float | None:
    """Return spectral over local mean gradient modulus, from the gradients that weights hold.

    None where it is not defined: no block, no gradient, or none of the local weights' (a block
    whose norm is zero passes none on).
    """
    pairs = [(b.spectral.weight.grad, b.local.weight.grad) for b in blocks]
    known = [(g, h) for g, h in pairs if g is not None and h is not None]
    if not known:
        return None
    spectral, local = mean_moduli(known)
    return spectral / local if local > 0 else None
