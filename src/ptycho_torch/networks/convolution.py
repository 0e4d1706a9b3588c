"""The 3x3 convolution, which takes the faster of two equal ways for what it is given.

It is torch's own layer with torch's own weights; which way is taken depends on shapes, on the
device and on whether a gradient is wanted, never on values.

Letters: B batch, I input and O output channels, H rows, W columns.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ptycho_torch.networks.winograd import TILE, WinogradConvolution

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
