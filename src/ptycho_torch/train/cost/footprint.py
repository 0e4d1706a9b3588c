"""Memory and operations of a training step, counted without computing it.

A step is walked through on torch's `meta` device, where tensors have shapes and no values: every
operation of the real network, forward and backward, at the real batch, in no memory. What lives at
each moment is summed, so that its largest value is known before a byte is taken.

Letters: B batch, C patches of a group, H rows, W columns.
"""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ptycho_torch.config.training import SGD, RunSettings
from ptycho_torch.data.batch import Batch
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.data.split_scales import LOSSES
from ptycho_torch.networks import count_parameters
from ptycho_torch.networks.convolution import counted_for_cpu
from ptycho_torch.train.cost.workload import Workload, made_up_groups, made_up_module
from ptycho_torch.train.module import PtychoModule

aten = torch.ops.aten


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one step takes; bytes."""

    parameters: dict[str, int]
    """`stored` and `full`, complex weights counted once, as in `run.json`."""

    flops: int
    """Floating-point operations of matrix products, convolutions and Fourier transforms, forward
    and backward; what is done number by number is not counted."""

    weights: int
    """The network's weights; gradients are as many."""

    optimizer: int
    """What the optimiser keeps from step to step."""

    saved: int
    """What the forward pass keeps for the backward pass, beside the weights."""

    step: int
    """The most that lives at once during a step beside weights and optimiser: what is kept,
    gradients, and what operations need for a moment."""

    validation: int
    """The most that lives at once where nothing is learned, beside weights and optimiser: a batch
    of validation, and the gradients of the last step."""


class Walk(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, while they live, and operations.

    live and most: bytes now, and the largest number so far; flops: so far. Tensors that were there
    before, and views of them, are not counted once they were passed to `known`.

    Parameters
    ----------
    reach_px
        On the meta device, where tensors have no values, the answer to what the merging of groups
        asks of its positions; None: ask the tensors.
    """

    def __init__(self, reach_px: int | None = None) -> None:
        super().__init__()
        self.live = 0
        self.most = 0
        self.flops = 0
        self._reach_px = reach_px
        self._alive: dict[int, Any] = {}

    def known(self, *tensors: Tensor) -> None:
        """Take note of tensors that are not to be counted."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._alive[storage._cdata] = storage

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry out an operation and count what it makes."""
        if func is aten._local_scalar_dense.default and self._reach_px is not None:
            # A yes or no is whether a window lies outside: none does.
            return False if args[0].dtype == torch.bool else self._reach_px
        made = func(*args, **(kwargs or {}))
        if (count := _FLOPS.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=made)
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def gone(_: object) -> None:
            self.live -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.live += size
        self.most = max(self.most, self.live)


class SavedBytes(saved_tensors_hooks):
    """Counts what a forward pass within it keeps for the backward pass, each storage once.

    total: bytes so far.

    Parameters
    ----------
    module
        Its weights are not counted.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.total = 0
        own = [*module.parameters(), *module.buffers()]
        self._seen = {tensor.untyped_storage()._cdata for tensor in own}
        super().__init__(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.total += storage.nbytes()
        return tensor


def footprint(run: RunSettings, work: Workload, *, gpu: bool = False) -> Footprint:
    """Return what a step of a run takes; nothing is computed and hardly any memory taken.

    gpu: whether it is for a GPU, where convolutions go other ways.
    """
    with torch.device("meta"), counted_for_cpu(not gpu):
        module = made_up_module(run, work)
        batch = made_up_groups(work, run.training.batch_size).take(slice(None))
        # A split smaller than a batch of validation is validated as a whole.
        checks = made_up_groups(work, min(EVAL_BATCH, work.groups["validation"]))
        walk, saved = _walk(module, batch, work), SavedBytes(module)
        with walk:
            with saved:
                loss = training_loss(module, batch)
            loss.backward()
        weights = sum(_bytes(p) for p in module.parameters())
        validation = _walk(module, checks.take(slice(None)), work)
        with validation, torch.no_grad():
            _validate(module.eval(), checks.take(slice(None)))
    return Footprint(
        parameters=count_parameters(module.network),
        flops=walk.flops,
        weights=weights,
        optimizer=_copies(run) * weights,
        saved=saved.total,
        step=walk.most,
        validation=weights + validation.most,
    )


def training_loss(module: PtychoModule, batch: Batch) -> Tensor:
    """Return the loss of a training step, as a graph to be walked backwards."""
    predicted = module.predict_amplitudes(_drawn(module, batch), batch)
    name = module.run.training.loss
    return module.scales["train"].loss(name, predicted, batch.amplitude_BCHW)


def _validate(module: PtychoModule, batch: Batch) -> None:
    predicted = module.predict_amplitudes(_drawn(module, batch), batch)
    for name in LOSSES:
        module.scales["validation"].loss(name, predicted, batch.amplitude_BCHW)


def _drawn(module: PtychoModule, batch: Batch) -> Tensor:
    """Return what the network draws, (B, C, H, W); in float32, since meta tensors know no other
    arithmetic."""
    patches: Tensor = module.network(module.network_input(batch.amplitude_BCHW))
    return patches


def _walk(module: PtychoModule, batch: Batch, work: Workload) -> Walk:
    walk = Walk(reach_px=work.reach_px)
    walk.known(*module.parameters(), *module.buffers())
    walk.known(*(tensor for tensor in batch if tensor is not None))
    return walk


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _copies(run: RunSettings) -> int:
    """Return how many numbers the optimiser keeps for each weight."""
    optimizer = run.training.optimizer
    return int(optimizer.momentum > 0) if isinstance(optimizer, SGD) else 2


def _points(shape: Sequence[int], dims: Sequence[int]) -> int:
    return math.prod(shape[dim] for dim in dims)


def _complex_flops(x: Tensor, dims: Sequence[int], *_: Any, **__: Any) -> int:
    return round(5 * x.numel() * math.log2(_points(x.shape, dims)))


def _from_real_flops(x: Tensor, dims: Sequence[int], *_: Any, **__: Any) -> int:
    return round(2.5 * x.numel() * math.log2(_points(x.shape, dims)))


def _to_real_flops(_: Tensor, dims: Sequence[int], *__: Any, out_val: Tensor, **___: Any) -> int:
    return _from_real_flops(out_val, dims)


_FLOPS = {
    # Matrix products and convolutions, 2 for each product with its sum.
    **flop_registry,
    # A fast Fourier transform of n numbers: 5 n log2 n, half of it where one side is real, as is
    # customary (Frigo and Johnson, Proc. IEEE 93, 216 (2005)).
    aten._fft_c2c: _complex_flops,
    aten._fft_r2c: _from_real_flops,
    aten._fft_c2r: _to_real_flops,
}
