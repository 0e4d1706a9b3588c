"""Convolutions that choose the fastest of equal ways for what they are given.

Letters: B batch, I input and O output channels, H rows, W columns.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ptycho_torch.generators.winograd import TILE, WinogradConvolution

LEAST_CHANNELS = 64
LEAST_TILES = 32


def winograd_pays(x_BIHW: Tensor, weight_OI33: Tensor) -> bool:
    """Return whether F(4x4, 3x3) is faster than the library's direct convolution.

    Its 36 products for 144 save the more, the more channels there are; its transforms are dense
    along an axis and cost the more, the longer that is.
    """
    B, I, H, W = x_BIHW.shape  # noqa: E741
    O = len(weight_OI33)  # noqa: E741
    mean = 2 * I * O / (I + O)
    tiles = B * -(-H // TILE) * -(-W // TILE)
    return mean >= LEAST_CHANNELS and mean >= 2 * max(H, W) and tiles >= LEAST_TILES


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` of 3x3 with padding 1: its weights, its values, less time on a CPU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Return (B, O, H, W)."""
        bias = self.bias
        assert bias is not None
        if _plain(x_BIHW) or not winograd_pays(x_BIHW, self.weight):
            return conv2d(x_BIHW, self.weight, bias, padding=1)
        y: Tensor = WinogradConvolution.apply(x_BIHW, self.weight, bias)
        return y


def _plain(x: Tensor) -> bool:
    """Return whether torch's own convolution is to be taken: other devices' libraries choose for
    themselves, autocast wants half precision, and the compiler and torch.func look inside."""
    return (
        type(x) is not Tensor
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    )
