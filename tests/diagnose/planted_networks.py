"""Hand-made networks whose numbers are known."""

import torch

from ptycho_torch.networks.blocks import FourierBlock


class Doubling(FourierBlock):
    """A block whose output is twice its input: a planted drift."""

    def update(self, x_BCHW):
        return x_BCHW


def make_block(kind=FourierBlock, channels=3, modes=3, side=8, seed=0):
    torch.manual_seed(seed)
    stream = torch.Generator().manual_seed(seed)
    return kind(channels, modes, size_px=(side, side), two_sided=False, generator=stream)


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
