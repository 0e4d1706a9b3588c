"""Training and validation batches from memory: full batches, in an order of a named stream.

Letters: B batch, C patches of a group, H rows, W columns.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from ptycho_torch.config.base import InputError
from ptycho_torch.measurements.batch import Batch, Groups
from ptycho_torch.streams import named_stream


class ShuffledBatches:
    """Full batches of a split, in a new order each epoch, fixed by seed and epoch alone.

    Parameters
    ----------
    groups
        The split's groups.
    batch_size
        B; the groups left over after the last full batch sit out that epoch.
    seed
        Root seed of the run.
    epoch
        Tells the epoch that is about to begin, counted from 0.

    Raises
    ------
    InputError
        If the split has fewer groups than a batch.
    """

    def __init__(
        self, groups: Groups, batch_size: int, *, seed: int, epoch: Callable[[], int]
    ) -> None:
        if len(groups) < batch_size:
            raise InputError(
                f"training.batch_size is {batch_size}, the training split has only "
                f"{len(groups)} groups; only full batches train"
            )
        self.groups = groups
        self.batch_size = batch_size
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.groups) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        order = epoch_order(self._seed, self._epoch(), len(self.groups))
        for i in range(len(self)):
            chosen = torch.from_numpy(order[i * self.batch_size : (i + 1) * self.batch_size])
            yield self.groups.take(chosen)


class OrderedBatches:
    """All groups of a split in their own order; the last batch may be smaller."""

    def __init__(self, groups: Groups, batch_size: int) -> None:
        self.groups = groups
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.groups) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        yield from self.groups.batches(self.batch_size)


def epoch_order(seed: int, epoch: int, groups: int) -> np.ndarray:
    """Return the order of the groups in one epoch (counted from 0), (groups,) int64."""
    return named_stream(seed, "data order", epoch).permutation(groups)
