"""By which arithmetic a run is computed, and what its device cannot do."""

import contextlib
import ctypes
import logging
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import deterministic

from ptycho_torch.config.training import ExecutionSettings

logger = logging.getLogger(__name__)


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
    execution: ExecutionSettings, device: torch.device, *, merges: bool, processes: int = 1
) -> bool:
    """Return whether steps are recorded as CUDA graphs; log why where they cannot be."""
    if not execution.cuda_graphs:
        return False
    if device.type != "cuda":
        reason = f"the device is {device.type}"
    elif merges:  # The host must know the extent of each step's groups.
        reason = "groups are merged"
    elif processes > 1:
        reason = "several devices share a step"
    else:
        return True
    logger.warning("execution.cuda_graphs has no effect here: %s", reason)
    return False


def warn_of_precision(execution: ExecutionSettings, device: torch.device) -> None:
    """Log where the precision that was requested is not this device's own."""
    if execution.precision == "tf32" and device.type != "cuda":
        logger.warning(
            "execution.precision tf32 has no effect on %s: computed in fp32", device.type
        )
    if execution.precision == "bf16" and device.type == "cpu" and not _cpu_has_bf16():
        logger.warning("execution.precision bf16: imitated on this processor, slower than fp32")


def _cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def keep_freed_memory() -> None:
    """Ask glibc to keep what training frees for its next step; by itself it would give large
    tensors back to the kernel, and have each zeroed page by page at the next step."""
    libc: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if hasattr(libc, "gnu_get_libc_version"):
        trim, mmap = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        libc.mallopt(mmap, 2**31 - 1)
        libc.mallopt(trim, 2**31 - 1)
