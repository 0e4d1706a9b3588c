"""A training's data as Lightning sees them: batches of groups, in an order fixed by the seed.

Letters: n groups, k steps of an epoch, P processes, B groups of a batch.
"""

import math
from collections import UserList
from collections.abc import Iterator

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Batch
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

EVAL_BATCH = 64
"""Groups of a batch where nothing is learned."""


def epoch_order(seed: int, epoch: int, groups: int) -> NDArray[np.int64]:
    """Return the order of the groups in one epoch (counted from 0), (groups,) int64."""
    return named_stream(seed, "data order", epoch).permutation(groups)


class EpochBatches:
    """Full batches of groups, in a new order each epoch, fixed by the run's seed and epoch alone.

    Several processes share a step: each takes `training.batch_size` groups of it; the groups left
    over after the last full batch sit out that epoch. `InputError` if there is no full one.
    """

    def __init__(self, run: RunSettings, groups: Batch, rank: int = 0, processes: int = 1) -> None:
        self.groups, self.seed, self.epoch = groups, run.seed, 0
        self.shape, self.rank = (processes, run.training.batch_size), rank
        self.sampler = self  # The name by which a Trainer looks for `set_epoch`.
        if not len(self):
            raise InputError(
                f"arms.{run.arm} on dataset '{run.dataset}': training.batch_size is "
                f"{self.shape[1]}, on each of {processes} device(s), the training split has only "
                f"{len(groups)} groups; only full batches train"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0; a Trainer does so before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.groups) // math.prod(self.shape)

    def __iter__(self) -> Iterator[Batch]:
        # At the first batch, not before: a Trainer asks for the iterator before it sets the epoch.
        order = torch.from_numpy(epoch_order(self.seed, self.epoch, len(self.groups)))
        order_kPB = order[: len(self) * math.prod(self.shape)].view(-1, *self.shape)
        for index_B in order_kPB[:, self.rank].to(self.groups.amplitude_BCHW.device):
            yield self.groups.take(index_B)


class PtychoDataModule(LightningDataModule):
    """Training and validation groups of a run, moved to the Trainer's device as a whole."""

    def __init__(self, run: RunSettings, train: Batch, validation: Batch) -> None:
        super().__init__()
        self.run, self.train, self.validation = run, train, validation

    def setup(self, stage: str) -> None:
        """Move the groups to the Trainer's device."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        self.train, self.validation = self.train.to(device), self.validation.to(device)

    def train_dataloader(self) -> EpochBatches:
        """Return this process's share of full batches in the order of the epoch."""
        assert self.trainer is not None
        return EpochBatches(self.run, self.train, self.trainer.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> UserList[Batch]:
        """Return all groups; each process validates on all of them."""
        # A Trainer takes a plain list for several loaders.
        return UserList(self.validation.batches(EVAL_BATCH))
