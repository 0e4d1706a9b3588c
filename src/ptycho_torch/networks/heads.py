"""What every generator shares at its ends: input transforms and complex output.

Letters: B batch, C patches of a group, H rows, W columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import instance_norm, softplus

INPUT_TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "sqrt": lambda x: x.clamp_min(0).sqrt(),
    "log1p": lambda x: x.clamp_min(0).log1p(),
    "instance_norm": instance_norm,
}


def complex_patches(raw_BDHW: Tensor, output_mode: str) -> Tensor:
    """Return (B, C, H, W), complex, from D = 2C real channels: all first parts, then all second.

    `real_imag`: real and imaginary part. `amplitude_phase`: softplus and pi * tanh.
    """
    first, second = raw_BDHW.float().chunk(2, dim=1)
    if output_mode == "real_imag":
        return torch.complex(first, second)
    return torch.polar(softplus(first), torch.pi * second.tanh())
