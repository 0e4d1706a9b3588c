"""A training step recorded as a CUDA graph and replayed: all its kernels at one command."""

from collections.abc import Callable

import torch

from ptycho_torch.data.batch import Batch

WARM_UP_STEPS = 3
"""Steps taken as usual before the recording, as torch asks: libraries choose their kernels and
the optimiser makes its state. They are steps of the training like any other."""


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
            self._batch = Batch._make(None if t is None else t.clone() for t in batch)
        for place, values in zip(self._batch, batch, strict=True):
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
