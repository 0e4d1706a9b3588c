"""The spectral layer, a convolution given by its low-frequency block; Fourier blocks of it, and the
measures of them that training and diagnoses take.

    x_BIHW -(transform)-> block_BR2KI -(matrix per mode)-> block_BR2KO -(inverse)-> y_BOHW

The transform and its inverse are two real matrix products each, which never compute what is
dropped: faster than the FFT for the few frequencies kept.

    x_BHWC -(rows: 2R x H)-> (B, R, 2, W, C) -(columns: 2K x 2W)-> block_BR2KC
    block_BR2KC -(columns: 2W x 2K)-> (B, R, 2, W, C) -(rows: H x 2R)-> y_BHWC

Letters: B batch, I input, O output and C any channels, H rows, W columns, R row and K column
frequencies kept, 2 real and imaginary part.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


def truncated_matrices(
    rows: list[int], columns: int, size_px: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (2R, H) and (2K, 2W) of the transform, (2W, 2K) and (H, 2R) of its inverse, float64.

    rows, columns: as `kept_modes` returns them.
    """
    H, W = size_px
    cos_RH, sin_RH = _waves(torch.tensor(rows), H)
    cos_KW, sin_KW = _waves(torch.arange(columns), W)
    to_rows = torch.stack([cos_RH, -sin_RH], dim=1).flatten(0, 1)
    to_columns = _complex_product(cos_KW, -sin_KW)
    # A real frame has every frequency twice, but those that are their own mirror image.
    once = 2 * torch.arange(columns)[:, None] % W == 0
    times = torch.where(once, 1.0, 2.0).double()
    from_columns = _complex_product((times * cos_KW).T, (times * sin_KW).T)
    from_rows = to_rows.T / (H * W)
    return to_rows, to_columns, from_columns.contiguous(), from_rows.contiguous()


def _waves(frequencies: Tensor, length: int) -> tuple[Tensor, Tensor]:
    # Whole turns are dropped while they are integers: exact at any size.
    parts = torch.outer(frequencies, torch.arange(length)) % length
    angle = parts.double() * (2 * torch.pi / length)
    return angle.cos(), angle.sin()


def _complex_product(real: Tensor, imaginary: Tensor) -> Tensor:
    """Return the real matrix that multiplies (real part, imaginary part) by this complex one."""
    upper = torch.cat([real, -imaginary], dim=1)
    return torch.cat([upper, torch.cat([imaginary, real], dim=1)])


def kept_modes(modes: int, rows: int, columns: int, *, two_sided: bool) -> tuple[list[int], int]:
    """Return the row frequencies (indices of the FFT) and the number of column frequencies kept,
    only such as the frame has: no weight is stored that the data never touch."""
    low = min(modes, rows)
    high = range(max(rows - modes, low), rows) if two_sided else ()
    return [*range(low), *high], min(modes, columns // 2 + 1)


class SpectralConv(nn.Module):
    """Multiply the lowest frequencies by learned complex matrices; drop the others.

    Row and column frequencies 0..m-1 of the half spectrum are kept, m `modes`, as the first
    execution of the study did; `two_sided` also keeps the rows -m..-1. size_px: (H, W) of the
    frames; generator: random stream of the weights, whose mean squared modulus 1 / I preserves the
    variance of a kept mode. They are stored as real numbers, (R, K, I, 2, O) with real and
    imaginary part along the fourth axis: a complex product is one real matrix product per mode.
    Li et al. (2021), Fourier neural operator, arXiv:2010.08895.
    """

    to_rows: Tensor
    to_columns: Tensor
    from_columns: Tensor
    from_rows: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        modes: int,
        *,
        size_px: tuple[int, int],
        two_sided: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        rows, self.columns = kept_modes(modes, *size_px, two_sided=two_sided)
        self.out_channels = out_channels
        # Complex weights of the reference, which stores modes that small frames do not have.
        self.full_parameters = in_channels * out_channels * modes**2 * (2 if two_sided else 1)
        matrices = truncated_matrices(rows, self.columns, size_px)
        names = ("to_rows", "to_columns", "from_columns", "from_rows")
        for name, matrix in zip(names, matrices, strict=True):
            # Not among the weights that are kept in files.
            self.register_buffer(name, matrix.float(), persistent=False)
        shape = (len(rows), self.columns, in_channels, 2, out_channels)
        spread = (2 * in_channels) ** -0.5
        self.weight = nn.Parameter(torch.randn(shape, generator=generator) * spread)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Return (B, O, H, W), real, in the weights' precision even under autocast: half precision
        is too coarse for a sum over a frame."""
        device = x_BIHW.device.type
        # Not every device has it: the one that computes shapes alone has not.
        known = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if known else nullcontext():
            return self._convolved(x_BIHW.to(self.weight.dtype))

    def _convolved(self, x_BIHW: Tensor) -> Tensor:
        B, _, H, W = x_BIHW.shape
        R, K = len(self.to_rows) // 2, self.columns
        x = x_BIHW.permute(0, 2, 3, 1).reshape(B, H, -1)
        x = torch.bmm(self.to_rows.expand(B, -1, -1), x)
        x = torch.bmm(self.to_columns.expand(B * R, -1, -1), x.view(B * R, 2 * W, -1))
        x = self._mix(x.view(B, R, 2, K, -1)).reshape(B * R, 2 * K, -1)
        x = torch.bmm(self.from_columns.expand(B * R, -1, -1), x)
        x = torch.bmm(self.from_rows.expand(B, -1, -1), x.view(B, 2 * R, -1))
        return x.view(B, H, W, -1).permute(0, 3, 1, 2)

    def _mix(self, block_BR2KI: Tensor) -> Tensor:
        """Return (B, R, 2, K, O): the matrix of each mode, as one real product."""
        B, R, _, K, _ = block_BR2KI.shape
        parts = block_BR2KI.permute(1, 3, 2, 0, 4).reshape(R * K, 2 * B, -1)
        product = torch.bmm(parts, self.weight.flatten(0, 1).flatten(2))
        product = product.view(R, K, 2, B, 2, self.out_channels)
        # By `unbind`, whose gradient is one stack: that of an index is a frame of zeros each time.
        (rr, ri), (ir, ii) = (half.unbind(3) for half in product.unbind(2))
        return torch.stack([rr - ii, ri + ir]).permute(3, 1, 0, 2, 4)


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
