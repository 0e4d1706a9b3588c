"""Convolutions that choose the fastest of equal ways for what they are given.

They are torch's own layers with torch's own weights; which way is taken depends on shapes, on the
device and on whether a gradient is wanted, never on values.

Letters: B batch, I input and O output channels, H rows, W columns, h and w of half of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from ptycho_torch.generators.winograd import TILE, WinogradConvolution

LEAST_CHANNELS, LEAST_TILES = 64, 32
"""Below these F(4x4, 3x3) was slower than the library at every size tried."""

_counted_for_cpu = False


@contextmanager
def counted_for_cpu(on: bool = True) -> Iterator[None]:
    """Let tensors that have a shape alone (torch's device `meta`) go the way that they would go on
    a CPU, so that what this takes can be counted; else they go as on another device."""
    global _counted_for_cpu
    before, _counted_for_cpu = _counted_for_cpu, on
    try:
        yield
    finally:
        _counted_for_cpu = before


def library_only(x: Tensor) -> bool:
    """Return whether torch's own convolution is to be taken: other devices' libraries choose for
    themselves, autocast wants half precision, and the compiler and torch.func look inside."""
    return (
        type(x) is not Tensor
        or not (x.device.type == "cpu" or (x.is_meta and _counted_for_cpu))
        or x.dtype != torch.float32
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    )


def winograd_pays(x_BIHW: Tensor, out_channels: int) -> bool:
    """Return whether F(4x4, 3x3) is faster than the library's direct convolution.

    Its 36 products for 144 save the more, the more channels there are; its transforms are dense
    along an axis and cost the more, the longer that is.
    """
    B, I, H, W = x_BIHW.shape  # noqa: E741
    mean_channels = 2 * I * out_channels / (I + out_channels)
    tiles = B * -(-H // TILE) * -(-W // TILE)
    return mean_channels >= max(LEAST_CHANNELS, 2 * H, 2 * W) and tiles >= LEAST_TILES


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` of 3x3 with padding 1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Return (B, O, H, W)."""
        if library_only(x_BIHW) or not winograd_pays(x_BIHW, self.out_channels):
            return conv2d(x_BIHW, self.weight, self.bias, padding=1)
        y: Tensor = WinogradConvolution.apply(x_BIHW, self.weight, self.bias)
        return y


class HalvingConv(nn.Conv2d):
    """`nn.Conv2d` of 2x2 with stride 2: each output sees four pixels that no other sees."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 2, stride=2)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Return (B, O, H / 2, W / 2)."""
        B, I, H, W = x_BIHW.shape  # noqa: E741
        # Of the product only the backward pass is faster.
        if library_only(x_BIHW) or not torch.is_grad_enabled() or H % 2 or W % 2:
            return conv2d(x_BIHW, self.weight, self.bias, stride=2)
        assert self.bias is not None
        h, w = H // 2, W // 2
        quads = x_BIHW.permute(0, 2, 3, 1).reshape(B, h, 2, w, 2, I).transpose(2, 3)
        kernel = self.weight.permute(2, 3, 1, 0).reshape(4 * I, self.out_channels)
        y = torch.addmm(self.bias, quads.reshape(-1, 4 * I), kernel)
        return y.view(B, h, w, self.out_channels).permute(0, 3, 1, 2)


class DoublingConv(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of 2x2 with stride 2: each input makes four pixels of its own."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 2, stride=2)

    def forward(self, x_BIhw: Tensor) -> Tensor:  # type: ignore[override]
        """Return (B, O, 2h, 2w)."""
        if library_only(x_BIhw) or not torch.is_grad_enabled():
            return conv_transpose2d(x_BIhw, self.weight, self.bias, stride=2)
        assert self.bias is not None
        B, I, h, w = x_BIhw.shape  # noqa: E741
        kernel = self.weight.permute(0, 2, 3, 1).reshape(I, 4 * self.out_channels)
        quads = torch.addmm(self.bias.repeat(4), x_BIhw.permute(0, 2, 3, 1).reshape(-1, I), kernel)
        y = quads.view(B, h, w, 2, 2, self.out_channels).transpose(2, 3)
        return y.reshape(B, 2 * h, 2 * w, self.out_channels).permute(0, 3, 1, 2)
