"""Gradient checkpointing: less memory for more work, and the same numbers.

A training step keeps what every layer will need for its gradient until the backward pass comes to
it. A checkpointed part keeps only its input and works the rest out again when it is needed: by the
same operations on the same values, so gradients are equal bit for bit where operations repeat
themselves, as those on a CPU do. The price is a second forward pass of these parts.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.networks.fno import FNO
from ptycho_torch.networks.unet import Decoder, Lifter


def recompute_parts(network: nn.Module) -> nn.Module:
    """Let a generator's parts work out anew in the backward pass what they need for it.

    Parts are the lifter, each Fourier block, each decoder and the refiner. The network is changed
    in place and returned; names and values of its weights stay. Passes without gradients are as
    before. A hook on a layer within a part is called twice a step.

    References
    ----------
    Chen et al. (2016), Training deep nets with sublinear memory cost, arXiv:1604.06174.
    """
    for module in network.modules():
        if isinstance(module, (FourierBlock, Decoder, Lifter)):
            _recompute(module)
        elif isinstance(module, FNO):
            _recompute(module.refine)
    return network


def _recompute(part: nn.Module) -> None:
    # A partial, not a closure: a copy of the network then has parts of its own.
    part.forward = partial(_forward, part)


def _forward(part: nn.Module, *inputs: Tensor) -> Any:
    plain = partial(type(part).forward, part)
    # No part draws random numbers, so there is no state of a generator to be restored.
    return checkpoint(plain, *inputs, use_reentrant=False, preserve_rng_state=False)
