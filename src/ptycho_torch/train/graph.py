"""A training step recorded as a CUDA graph and replayed: all its kernels at one command.

Letters: S seeds, B batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP_STEPS = 3
"""Steps taken as usual before the recording, as torch asks: libraries choose their kernels and
the optimiser makes its state. They are steps of the training like any other."""


class RecordedStep:
    """Calls a step as it is at first, then replays its recording.

    The step must not wait for the device, and must find and leave its state in place; only its
    batch's index changes, which is copied to where the recording looks for it.

    Parameters
    ----------
    step
        Takes the groups of each seed's batch, (S, B), and whether to look at the gradients'
        ratio; there is a recording for each answer.
    device
        A CUDA device.
    """

    def __init__(self, step: Callable[[Tensor, bool], None], device: torch.device) -> None:
        self._step = step
        self._left = WARM_UP_STEPS
        self._aside = torch.cuda.Stream(device)
        self._index: Tensor | None = None
        self._graphs: dict[bool, torch.cuda.CUDAGraph] = {}

    def __call__(self, index_SB: Tensor, look: bool) -> None:
        """Take a step."""
        if self._left:
            self._left -= 1
            self._warm_up(index_SB, look)
            return
        if self._index is None:
            self._index = index_SB.clone()
        self._index.copy_(index_SB)
        if look not in self._graphs:
            self._graphs[look] = self._record(self._index, look)
        self._graphs[look].replay()

    def _warm_up(self, index_SB: Tensor, look: bool) -> None:
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            self._step(index_SB, look)
        torch.cuda.current_stream().wait_stream(self._aside)

    def _record(self, index_SB: Tensor, look: bool) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Both recordings share their memory: they never run at once.
        pool = next((g.pool() for g in self._graphs.values()), None)
        with torch.cuda.graph(graph, pool=pool):
            self._step(index_SB, look)
        return graph
