"""Training and validation batches from memory: full batches, in an order of a named stream.

Letters: B batch, C patches of a group, H rows, W columns.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.config.base import InputError
from ptycho_torch.streams import named_stream


class ShuffledBatches:
    """Full batches of a split, in a new order each epoch, fixed by seed and epoch alone.

    Parameters
    ----------
    amplitude_nCHW
        Measured amplitudes.
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
        self, amplitude_nCHW: Tensor, batch_size: int, *, seed: int, epoch: Callable[[], int]
    ) -> None:
        if len(amplitude_nCHW) < batch_size:
            raise InputError(
                f"training.batch_size is {batch_size}, the training split has only "
                f"{len(amplitude_nCHW)} groups; only full batches train"
            )
        self.amplitude_nCHW = amplitude_nCHW
        self.batch_size = batch_size
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.amplitude_nCHW) // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        order = epoch_order(self._seed, self._epoch(), len(self.amplitude_nCHW))
        for i in range(len(self)):
            chosen = torch.from_numpy(order[i * self.batch_size : (i + 1) * self.batch_size])
            yield self.amplitude_nCHW[chosen]


class OrderedBatches:
    """All groups of a split in their own order; the last batch may be smaller."""

    def __init__(self, amplitude_nCHW: Tensor, batch_size: int) -> None:
        self.amplitude_nCHW = amplitude_nCHW
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.amplitude_nCHW) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.amplitude_nCHW.split(self.batch_size)


def epoch_order(seed: int, epoch: int, groups: int) -> np.ndarray:
    """Return the order of the groups in one epoch (counted from 0), (groups,) int64."""
    return named_stream(seed, "data order", epoch).permutation(groups)
