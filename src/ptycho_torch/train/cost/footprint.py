"""What a run will see, by its sizes alone; memory and operations of its steps, counted without
computing them; and a job's memory.

A step is walked through on torch's `meta` device, where tensors have shapes and no values: every
operation of the real network, forward and backward, at the real batch, in no memory.
"""

import math
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ptycho_torch.config.dataset import Dataset, DatasetFiles, FileProbe
from ptycho_torch.config.training import SGD, RunSettings
from ptycho_torch.data.batch import Groups, SplitScales
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.data.training import TrainingData
from ptycho_torch.files import io
from ptycho_torch.networks import count_parameters
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.module import PtychoModule

SPLITS = ("train", "validation", "test")
MIB = 2**20
# Of a split's file, as large as its amplitudes: these, `Y_I` and `Y_phi`.
_ARRAYS = 3
# Memory of a process over what lives in it at most in a step and in a validation: freed pieces are
# kept, and tensors of other shapes do not fit into them. Measured (docs/performance.md).
_SCATTERED = 1.5


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Sizes of a dataset: side of a patch, patches of a group, groups of each split, how far the
    patches of a group lie apart along an axis, modes of the probe."""

    patch_px: int
    channels: int
    groups: dict[str, int]
    reach_px: int
    probe_modes: int = 1


def workload_of(data: Dataset) -> Workload:
    """Return the sizes of a dataset, which need not exist yet if it is simulated.

    Raises
    ------
    InputError
        If files that it is made from cannot be read.
    """
    if isinstance(data, DatasetFiles):
        return _of_files(data)
    scan, modes = data.scan, 1
    steps = dict.fromkeys(SPLITS, scan.test_step_px) | {"train": scan.train_step_px}
    if isinstance(data.probe, FileProbe):
        shape = io.read_npz(data.probe.path, "probeGuess")["probeGuess"].shape
        modes = shape[0] if len(shape) == 3 else 1
    return Workload(
        patch_px=data.patch_px,
        channels=scan.gridsize**2,
        groups={s: data.images_per_split * data.groups_per_image(steps[s]) for s in SPLITS},
        reach_px=scan.group_offset_px if scan.gridsize == 2 else 0,
        probe_modes=modes,
    )


def _of_files(data: DatasetFiles) -> Workload:
    groups, channels, reach = {}, 1, 0
    for split in SPLITS:
        path = getattr(data, split)
        arrays, _ = io.read_npz_known(path, "diffraction", "coords_nominal")
        shape = arrays["diffraction"].shape if "diffraction" in arrays else ()
        if len(shape) != 4:
            raise InputError(f"{path}: has no array 'diffraction' of shape (n, N, N, C)")
        groups[split], channels = shape[0], shape[-1]
        if "coords_nominal" in arrays:
            reach = max(reach, int(np.ptp(arrays["coords_nominal"], axis=-1).max()))
    return Workload(patch_px=data.patch_px, channels=channels, groups=groups, reach_px=reach)


def made_up_groups(work: Workload, count: int) -> Groups:
    """Return groups of noise on torch's device in force; what they show changes no cost."""
    amplitude = torch.rand(count, work.channels, work.patch_px, work.patch_px)
    if work.channels == 1:
        return Groups(amplitude)
    places = torch.zeros(count, work.channels, 2, dtype=torch.int64)
    places[:, -1] = work.reach_px
    return Groups(amplitude, places)


def made_up_module(run: RunSettings, work: Workload) -> PtychoModule:
    """Return the module of a run on made-up data, on torch's device in force."""
    groups = made_up_groups(work, 1)
    scale = SplitScales(intensity_scale=100.0, mean_amplitude=0.5, mean_counts=3000.0)
    probe = torch.ones(work.probe_modes, work.patch_px, work.patch_px, dtype=torch.complex64)
    scales = dict.fromkeys(("train", "validation"), scale)
    data = TrainingData(train=groups, validation=groups, probe_MHW=probe, scales=scales)
    # No scale of the input is measured on tensors without values.
    training = run.training.model_copy(update={"input_scaling": "none"})
    return PtychoModule(run.model_copy(update={"training": training}), data)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, while they live: `live` now, `most` so
    far. Tensors in `known`, and views of them, are not counted.

    reach_px: on the meta device, where tensors have no values, the answer to what the merging of
    groups asks of its positions; None: ask the tensors.
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
                key, size = storage._cdata, storage.nbytes()
                if key not in self._alive:
                    self._alive[key] = weakref.finalize(storage, self._gone, key, size)
                    self.live += size
                    self.most = max(self.most, self.live)
        return result

    def _gone(self, key: int, size: int) -> None:
        self.live -= size
        del self._alive[key]


@dataclass(frozen=True, kw_only=True)
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


def footprint(run: RunSettings, work: Workload) -> Footprint:
    """Return what a step of a run takes, in float32; nothing is computed."""
    flops = FlopCounterMode(display=False, custom_mapping=_FFT_FLOPS)
    # Meta tensors know no autocast.
    plain = run.execution.model_copy(update={"precision": "fp32"})
    with torch.device("meta"):
        module = made_up_module(run.model_copy(update={"execution": plain}), work)
        # A split smaller than a batch of validation is validated as a whole.
        sizes = run.training.batch_size, min(EVAL_BATCH, work.groups["validation"])
        batch, checks = (made_up_groups(work, size).take(slice(None)) for size in sizes)
        own = (*module.parameters(), *module.buffers())
        with LiveBytes(*own, *batch, reach_px=work.reach_px) as step, flops:
            loss = module.training_loss(batch)
            saved = step.live
            loss.backward()
        module.eval()
        with LiveBytes(*own, *checks, reach_px=work.reach_px) as validation, torch.no_grad():
            module.predict_amplitudes(module(checks.amplitude_BCHW), checks)
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
    interpreter and libraries, the memory of the smallest training (None: on a GPU); `copies`: best
    and last weights; `work`: activations, gradients and what lies between them.
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
