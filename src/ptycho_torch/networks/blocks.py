"""Fourier blocks: a spectral and a local path side by side, with a residual connection; and the
measures of them that training and diagnoses take.

Letters: B batch, C channels, H rows, W columns.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from ptycho_torch.networks.spectral import SpectralConv


class FourierBlock(nn.Module):
    """y = x + GELU(spectral(x) + conv3x3(x)); `modes` and what follows as of `SpectralConv`."""

    def __init__(self, channels: int, modes: int, **geometry: Any) -> None:
        super().__init__()
        self.spectral = SpectralConv(channels, channels, modes, **geometry)
        self.local = nn.Conv2d(channels, channels, 3, padding=1)

    def _update(self, x_BCHW: Tensor) -> Tensor:
        """Return what the block adds to its input, (B, C, H, W)."""
        return gelu(self.spectral(x_BCHW) + self.local(x_BCHW))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        return x_BCHW + self._update(x_BCHW)


class StableFourierBlock(FourierBlock):
    """y = x + InstanceNorm(GELU(spectral(x) + conv3x3(x))), the norm's weight and bias zero first.

    At step 0 the block is the identity; its update has zero mean over each channel's frame plus
    the norm's bias, so means cannot drift with depth.
    """

    def __init__(self, channels: int, modes: int, **geometry: Any) -> None:
        super().__init__(channels, modes, **geometry)
        self.norm = nn.InstanceNorm2d(channels, affine=True)
        nn.init.zeros_(self.norm.weight)

    def _update(self, x_BCHW: Tensor) -> Tensor:
        update: Tensor = self.norm(super()._update(x_BCHW))
        return update


class LayerScaleFourierBlock(StableFourierBlock):
    """y = x + scale * InstanceNorm(GELU(spectral(x) + conv3x3(x))), a scale per channel.

    The norm's weight and bias start at 1 and 0. The scale starts small but not at zero, so the
    block is nearly the identity at step 0 and yet its paths have a gradient from the first step on:
    at 1e-3, as the study's protocol has it; the reference takes 0.1 to 1e-6, less the deeper.
    Touvron et al. (2021), Going deeper with Image Transformers, arXiv:2103.17239, section 2.
    """

    def __init__(self, channels: int, modes: int, **geometry: Any) -> None:
        super().__init__(channels, modes, **geometry)
        nn.init.ones_(self.norm.weight)
        self.scale = nn.Parameter(torch.full((channels,), 1e-3))

    def _update(self, x_BCHW: Tensor) -> Tensor:
        return self.scale[:, None, None] * super()._update(x_BCHW)


class DepthScaledFourierBlock(FourierBlock):
    """y = x + GELU(spectral(x) + conv3x3(x)) / L, with L Fourier blocks in the network.

    Marion et al. (2022), Scaling ResNets in the large-depth regime, arXiv:2206.06929: with 1/L a
    deep network of independent weights starts near the identity, with 1 it explodes.
    """

    network_blocks = 1
    """L, set by the network that holds the block."""

    def _update(self, x_BCHW: Tensor) -> Tensor:
        return super()._update(x_BCHW) / self.network_blocks


class FeedForwardFourierBlock(FourierBlock):
    """y = x + W2 GELU(W1 spectral(x)), the residual after the activation and a second product.

    What a block adds may be negative, unlike GELU's output. W1 (`local`) and W2 are 1x1
    convolutions. Tran et al. (2023), Factorized Fourier neural operators, arXiv:2111.13802,
    section 3, with the study's spectral layer in place of the factorized one.
    """

    def __init__(self, channels: int, modes: int, **geometry: Any) -> None:
        super().__init__(channels, modes, **geometry)
        self.local = nn.Conv2d(channels, channels, 1)
        self.second = nn.Conv2d(channels, channels, 1)

    def _update(self, x_BCHW: Tensor) -> Tensor:
        update: Tensor = self.second(gelu(self.local(self.spectral(x_BCHW))))
        return update


def fourier_blocks(network: nn.Module) -> dict[str, FourierBlock]:
    """Return a network's Fourier blocks by name, in the order in which data pass them."""
    return {name: m for name, m in network.named_modules() if isinstance(m, FourierBlock)}


def spectral_modulus(pairs: Tensor) -> Tensor:
    """Return the moduli (R, K, I, O) of weights or gradients stored as (R, K, I, 2, O); for a real
    loss L the pair (dL/dRe, dL/dIm) is what torch would give as a complex weight's gradient."""
    # Twenty times as fast on a CPU as the norm along this axis, which lies inside.
    return torch.hypot(*pairs.unbind(3))


def mean_moduli(gradients: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean gradient modulus over all blocks, (2,), of the `gradients` of spectral
    weights, and of local ones (3x3 convolutions without bias)."""
    moduli = [(spectral_modulus(spectral), local.abs()) for spectral, local in gradients]
    means = [
        torch.stack([m.sum() for m in kind]).sum() / sum(m.numel() for m in kind)
        for kind in zip(*moduli, strict=True)
    ]
    return torch.stack(means)


def gradient_moduli(blocks: Iterable[FourierBlock]) -> Tensor | None:
    """Return `mean_moduli` of the gradients that weights hold; None where no block has any."""
    pairs = [(b.spectral.weight.grad, b.local.weight.grad) for b in blocks]
    known = [(g, h) for g, h in pairs if g is not None and h is not None]
    return mean_moduli(known) if known else None
