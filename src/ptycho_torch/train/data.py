"""Which groups form which batch: full batches, in an order of a named stream.

Letters: k batches of an epoch, B groups of a batch.
"""

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream


class EpochOrder:
    """Full batches of a split, in a new order each epoch, fixed by seed and epoch alone.

    Parameters
    ----------
    groups
        How many the split has.
    batch_size
        B; the groups left over after the last full batch sit out that epoch.

    Raises
    ------
    InputError
        If the split has fewer groups than a batch.
    """

    def __init__(self, groups: int, batch_size: int) -> None:
        if groups < batch_size:
            raise InputError(
                f"training.batch_size is {batch_size}, the training split has only {groups} "
                "groups; only full batches train"
            )
        self.groups = groups
        self.batch_size = batch_size

    def __len__(self) -> int:
        return self.groups // self.batch_size

    def batches(self, seed: int, epoch: int) -> Tensor:
        """Return the groups of each batch, (k, B) int64; `epoch` counts from 0."""
        order = epoch_order(seed, epoch, self.groups)[: len(self) * self.batch_size]
        return torch.from_numpy(order).view(len(self), self.batch_size)


def epoch_order(seed: int, epoch: int, groups: int) -> np.ndarray:
    """Return the order of the groups in one epoch (counted from 0), (groups,) int64."""
    return named_stream(seed, "data order", epoch).permutation(groups)
