"""The largest batch and depth of which a training fits into a memory."""

from collections.abc import Callable
from functools import cache

from ptycho_torch.config.generator import plan_levels
from ptycho_torch.config.training import RunSettings
from ptycho_torch.train.cost.base import Base
from ptycho_torch.train.cost.memory import peak_mib
from ptycho_torch.train.cost.workload import Workload

MOST_BLOCKS = 64
"""Deeper networks are not tried."""


def largest_batch(run: RunSettings, work: Workload, memory_mib: float, base: Base | None) -> int:
    """Return the most groups a step that fit; 0 if none do, at most those of the split."""

    def peak(size: int) -> float:
        training = run.training.model_copy(update={"batch_size": size})
        changed = run.model_copy(update={"training": training})
        return peak_mib(changed, work, base)

    return largest(peak, memory_mib, work.groups["train"])


def largest_depth(run: RunSettings, work: Workload, memory_mib: float, base: Base | None) -> int:
    """Return the most Fourier blocks that can be built and fit; 0 if none do.

    Levels are as the settings say or, where they say nothing, as many as there are blocks, down to
    the deepest side; more blocks repeat within a level.
    """

    def peak(blocks: int) -> float:
        generator = run.generator.model_copy(update={"fno_blocks": blocks})
        plan_levels(generator, run.patch_px)
        changed = run.model_copy(update={"generator": generator})
        return peak_mib(changed, work, base)

    least = run.generator.levels or 1
    return largest(peak, memory_mib, MOST_BLOCKS, least=least)


def largest(peak: Callable[[int], float], limit: float, most: int, *, least: int = 1) -> int:
    """Return the largest number from `least` to `most` whose peak is within the limit; else 0.

    The peak must not fall as the number grows. By bisection, at the place where the limit would
    be if the peak grew evenly, as it nearly does.
    """
    known = cache(peak)
    if known(least) > limit:
        return 0
    if known(most) <= limit:
        return most
    low, high = least, most
    while high - low > 1:
        share = (limit - known(low)) / (known(high) - known(low))
        guess = min(max(low + int(share * (high - low)), low + 1), high - 1)
        # The guess and its neighbour: where it is right, both sides are known at once.
        for number in (guess, guess + 1):
            if low < number < high:
                low, high = (number, high) if known(number) <= limit else (low, number)
    return low
