"""Several networks of one architecture as one batched network.

Letters: S seeds, B batch, C patches of a group, H rows, W columns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from ptycho_torch.data.batch import Batch
from ptycho_torch.train.module import FitModule


def draw_together(modules: Sequence[FitModule], batches: Sequence[Batch]) -> Tensor:
    """Return what each module's network draws for its own batch, (S, B, C, H, W), complex.

    Weights are stacked within the graph, so that gradients arrive in each network's own.
    """
    networks = [module.network for module in modules]
    parameters = [dict(network.named_parameters()) for network in networks]
    stacked = {name: torch.stack([p[name] for p in parameters]) for name in parameters[0]}
    shown_SBCHW = torch.stack(
        [m.network_input(b.amplitude_BCHW) for m, b in zip(modules, batches, strict=True)]
    )

    def draw(weights: dict[str, Tensor], shown_BCHW: Tensor) -> Tensor:
        patches: Tensor = functional_call(networks[0], weights, (shown_BCHW,))
        return patches

    with modules[0].arithmetic():
        patches_SBCHW: Tensor = vmap(draw)(stacked, shown_SBCHW)
    return patches_SBCHW
