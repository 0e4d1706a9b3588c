"""How a device computes a run: arithmetic, recorded steps, and what it cannot do."""

import contextlib
import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import deterministic

from ptycho_torch.config.training import ExecutionSettings
from ptycho_torch.data.batch import Batch

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 3
"""Steps taken as usual before the recording, as torch asks: libraries choose their kernels and
the optimiser makes its state. They are steps of the training like any other."""


@contextlib.contextmanager
def numerics(execution: ExecutionSettings) -> Iterator[None]:
    """Set torch's arithmetic for one training, and put back what was set before.

    float32 means float32 on every device: cuDNN would take TF32, factors rounded to 10 bits, by
    itself. Whether operations are deterministic is the Trainer's to set, and put back here as well.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    fill, tf32 = deterministic.fill_uninitialized_memory, (matmul.allow_tf32, cudnn.allow_tf32)  # type: ignore[attr-defined]
    strict = torch.are_deterministic_algorithms_enabled()
    # Every new tensor would be filled with NaN first; nothing here reads what it has not written.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    matmul.allow_tf32 = cudnn.allow_tf32 = execution.precision == "tf32"
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)
        deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        matmul.allow_tf32, cudnn.allow_tf32 = tf32


def records_steps(
    execution: ExecutionSettings,
    device: torch.device,
    *,
    merges: bool,
    alone: bool = True,
    ours: bool = True,
) -> bool:
    """Return whether steps are recorded as CUDA graphs; log why where they cannot be."""
    hindrances = {
        f"the device is {device.type}": device.type != "cuda",
        # The host must know the extent of each step's groups.
        "groups are merged": merges,
        "several devices share a step": not alone,
        "optimiser or clipping is a user's own, and may wait for the device": not ours,
    }
    reason = next((reason for reason, there in hindrances.items() if there), None)
    if execution.cuda_graphs and reason:
        logger.warning("execution.cuda_graphs has no effect here: %s", reason)
    return execution.cuda_graphs and reason is None


class RecordedStep:
    """Calls a step as it is at first, then replays its recording, one for each value of `look`.

    The step must not wait for the device, and must find and leave its state in place; only its
    batch changes, which is copied to where the recording looks for it.
    """

    def __init__(self, step: Callable[[Batch, bool], None]) -> None:
        self._step = step
        self._left = WARM_UP_STEPS
        self._aside = torch.cuda.Stream()
        self._graphs: dict[bool, torch.cuda.CUDAGraph] = {}

    def __call__(self, batch: Batch, look: bool) -> None:
        """Take a step."""
        if self._left:
            self._left -= 1
            self._aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._aside):
                self._step(batch, look)
            torch.cuda.current_stream().wait_stream(self._aside)
            return
        if not self._graphs:
            self._batch = batch.map(Tensor.clone)
        for place, values in zip(self._batch.tensors, batch.tensors, strict=True):
            if place is not None and values is not None:
                place.copy_(values)
        if look not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            # Both recordings share their memory: they never run at once.
            pool = next((g.pool() for g in self._graphs.values()), None)
            with torch.cuda.graph(graph, pool=pool):
                self._step(self._batch, look)
            self._graphs[look] = graph
        self._graphs[look].replay()


def keep_freed_memory() -> None:
    """Ask glibc to keep what training frees for its next step; by itself it would give large
    tensors back to the kernel, and have each zeroed page by page at the next step."""
    libc: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if hasattr(libc, "gnu_get_libc_version"):
        trim, mmap = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        libc.mallopt(mmap, 2**31 - 1)
        libc.mallopt(trim, 2**31 - 1)
