"""A training's data as Lightning sees them: batches of groups, in an order fixed by the seed.

Letters: n groups, k batches of an epoch, B groups of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Batch, Groups
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

EVAL_BATCH = 64
"""Groups of a batch where nothing is learned."""


def epoch_order(seed: int, epoch: int, groups: int) -> NDArray[np.int64]:
    """Return the order of the groups in one epoch (counted from 0), (groups,) int64."""
    return named_stream(seed, "data order", epoch).permutation(groups)


@dataclass
class EpochOrder:
    """Full batches of a split, in a new order each epoch, fixed by seed and epoch alone.

    Several processes share a step: each takes `batch_size` groups of it; the groups left over after
    the last full batch sit out that epoch.
    """

    groups: int
    batch_size: int
    seed: int
    rank: int = 0
    processes: int = 1
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0; a Trainer does so before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.groups // (self.batch_size * self.processes)

    def batches(self) -> Tensor:
        """Return the groups of each of this process's batches, (k, B) int64."""
        order = torch.from_numpy(epoch_order(self.seed, self.epoch, self.groups))
        used = order[: len(self) * self.processes * self.batch_size]
        return used.view(len(self), self.processes, self.batch_size)[:, self.rank]


class GroupBatches:
    """Batches of groups, taken where those lie: full ones in the order of the epoch, or, without
    an order, all groups in their own."""

    def __init__(self, groups: Groups, order: EpochOrder | None = None) -> None:
        self.groups, self.order = groups, order
        if order is not None:
            self.sampler = order  # The name by which a Trainer looks for `set_epoch`.

    def __len__(self) -> int:
        return -(-len(self.groups) // EVAL_BATCH) if self.order is None else len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        if self.order is None:
            yield from self.groups.batches(EVAL_BATCH)
            return
        # At the first batch, not before: a Trainer asks for the iterator before it sets the epoch.
        for index_B in self.order.batches().to(self.groups.amplitude_nCHW.device):
            yield self.groups.take(index_B)


class PtychoDataModule(LightningDataModule):
    """Training and validation groups of a run, moved to the Trainer's device as a whole.

    run: `training.batch_size` and `seed` of it decide the batches. `InputError` if the training
    split has fewer groups than a batch.
    """

    def __init__(self, run: RunSettings, train: Groups, validation: Groups) -> None:
        super().__init__()
        self.run = run
        self.train, self.validation = train, validation
        self.order = self._order()

    def _order(self, rank: int = 0, processes: int = 1) -> EpochOrder:
        run, size = self.run, self.run.training.batch_size
        order = EpochOrder(len(self.train), size, run.seed, rank, processes)
        if not len(order):
            shared = f" for each of {processes} devices" if processes > 1 else ""
            raise InputError(
                f"arms.{run.arm} on dataset '{run.dataset}': training.batch_size is {size}"
                f"{shared}, the training split has only {len(self.train)} groups; only full "
                "batches train"
            )
        return order

    def setup(self, stage: str) -> None:
        """Share the steps between the Trainer's processes, and move the groups to its device."""
        assert self.trainer is not None
        self.order = self._order(self.trainer.global_rank, self.trainer.world_size)
        device = self.trainer.strategy.root_device
        self.train, self.validation = self.train.to(device), self.validation.to(device)

    def train_dataloader(self) -> GroupBatches:
        """Return full batches in the order of the epoch."""
        return GroupBatches(self.train, self.order)

    def val_dataloader(self) -> GroupBatches:
        """Return all groups; each process validates on all of them."""
        return GroupBatches(self.validation)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, *_: Any) -> Any:
        """Return the batch, which lies on the device already."""
        return batch
