"""Memory and operations of a training step, counted without computing it, and a job's memory.

A step is walked through on torch's `meta` device, where tensors have shapes and no values: every
operation of the real network, forward and backward, at the real batch, in no memory. What lives at
each moment is summed, so that its largest value is known before a byte is taken.
"""

import math
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ptycho_torch.config.training import SGD, RunSettings
from ptycho_torch.data.batch import Batch
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.networks import count_parameters
from ptycho_torch.train.cost.workload import Workload, made_up_groups, made_up_module
from ptycho_torch.train.module import PtychoModule

MIB = 2**20
# Of a split's file, as large as its amplitudes: these, `Y_I` and `Y_phi`.
_ARRAYS = 3
# Memory of a process over what lives in it at most in a step and in a validation: freed pieces are
# kept, and tensors of other shapes do not fit into them. Measured (docs/performance.md).
_SCATTERED = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one step takes; bytes but for parameters and operations.

    saved: what the forward pass leaves for the backward pass; step, validation: the most that lives
    at once beside weights and optimiser, with gradients.
    """

    parameters: dict[str, int]
    flops: int
    weights: int
    optimizer: int
    saved: int
    step: int
    validation: int


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, while they live.

    live and most: bytes now, and the largest number so far.

    Parameters
    ----------
    known
        Tensors that are not counted, nor views of them.
    reach_px
        On the meta device, where tensors have no values, the answer to what the merging of groups
        asks of its positions; None: ask the tensors.
    """

    def __init__(self, *known: Tensor | None, reach_px: int | None = None) -> None:
        super().__init__()
        self.live = self.most = 0
        self._reach_px = reach_px
        storages = [tensor.untyped_storage() for tensor in known if tensor is not None]
        self._alive: dict[int, Any] = {storage._cdata: storage for storage in storages}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry out an operation and count what it makes."""
        if func is torch.ops.aten._local_scalar_dense.default and self._reach_px is not None:
            # A yes or no is whether a window lies outside: none does.
            return False if args[0].dtype == torch.bool else self._reach_px
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._alive:
                    self._alive[storage._cdata] = weakref.finalize(
                        storage, self._gone, storage._cdata, storage.nbytes()
                    )
                    self.live += storage.nbytes()
                    self.most = max(self.most, self.live)
        return result

    def _gone(self, key: int, size: int) -> None:
        self.live -= size
        del self._alive[key]


def footprint(run: RunSettings, work: Workload) -> Footprint:
    """Return what a step of a run takes; nothing is computed and hardly any memory taken."""
    flops = FlopCounterMode(display=False, custom_mapping=_FFT_FLOPS)
    with torch.device("meta"):
        module = made_up_module(run, work)
        batch = made_up_groups(work, run.training.batch_size).take(slice(None))
        # A split smaller than a batch of validation is validated as a whole.
        checks = made_up_groups(work, min(EVAL_BATCH, work.groups["validation"])).take(slice(None))
        own = (*module.parameters(), *module.buffers())
        step = LiveBytes(*own, *batch, reach_px=work.reach_px)
        with step, flops:
            loss = training_loss(module, batch)
            saved = step.live
            loss.backward()
        validation = LiveBytes(*own, *checks, reach_px=work.reach_px)
        with validation, torch.no_grad():
            module.eval().predict_amplitudes(_patches(module, checks), checks)
    weights = sum(p.untyped_storage().nbytes() for p in module.parameters())
    optimizer = run.training.optimizer
    copies = int(optimizer.momentum > 0) if isinstance(optimizer, SGD) else 2
    return Footprint(
        parameters=count_parameters(module.network),
        flops=flops.get_total_flops(),
        weights=weights,
        optimizer=copies * weights,
        saved=saved,
        step=step.most,
        validation=weights + validation.most,
    )


def training_loss(module: PtychoModule, batch: Batch) -> Tensor:
    """Return the loss of a training step in float32, since meta tensors know no autocast."""
    predicted = module.predict_amplitudes(_patches(module, batch), batch)
    name = module.run.training.loss
    return module.scales["train"].loss(name, predicted, batch.amplitude_BCHW)


def _patches(module: PtychoModule, batch: Batch) -> Tensor:
    patches: Tensor = module.network(module.network_input(batch.amplitude_BCHW))
    return patches


def _fft_flops(factor: float) -> Any:
    """Count a fast Fourier transform of n numbers as `factor` n log2 n: 5, and half of it where one
    side is real, as is customary (Frigo and Johnson, Proc. IEEE 93, 216 (2005))."""

    def count(shape: Any, dims: Any, *_: Any, out_shape: Any, **__: Any) -> int:
        whole = max(shape, out_shape, key=math.prod)
        return round(factor * math.prod(whole) * math.log2(math.prod(whole[d] for d in dims)))

    return count


_FFT_FLOPS = {
    torch.ops.aten._fft_c2c: _fft_flops(5),
    torch.ops.aten._fft_r2c: _fft_flops(2.5),
    torch.ops.aten._fft_c2r: _fft_flops(2.5),
}


def job_memory(step: Footprint, work: Workload, base_mib: float | None) -> dict[str, float]:
    """Return what a training job takes at its largest, `peak`, and its parts; MiB.

    On a CPU it is what the process holds, on a GPU what torch has allocated there. `base`:
    interpreter and libraries; `copies`: best and last weights; `work`: activations, gradients and
    what lies between them.

    Parameters
    ----------
    base_mib
        Memory of the smallest training; None: the training runs on a GPU.
    """
    groups = work.groups["train"] + work.groups["validation"]
    data, weights = 4 * groups * work.channels * work.patch_px**2 / MIB, step.weights / MIB
    parts = {"base": base_mib or 0.0, "weights": weights, "optimizer": step.optimizer / MIB}
    if base_mib is None:
        # What a step has freed serves the validation.
        largest = max(step.step, step.validation) / MIB
        parts |= {"data": data, "copies": 0.0, "work": largest}
    else:
        own = step.validation - step.weights  # The gradients are in the step already.
        # Groups of several patches are stored patch last, and copied into another order.
        parts |= {"data": data * (_ARRAYS + (work.channels > 1)), "copies": 2 * weights}
        parts["work"] = _SCATTERED * (step.step + own) / MIB
    return {**parts, "peak": sum(parts.values())}
