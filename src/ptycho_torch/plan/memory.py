"""The largest memory of a training job, from its parts.

On a CPU it is what the process holds, as `timing.json` has it; on a GPU what torch has allocated
there.
"""

from dataclasses import asdict, dataclass

from ptycho_torch.config import RunSettings
from ptycho_torch.plan.footprint import Footprint, footprint
from ptycho_torch.plan.workload import Workload

MIB = 2**20
_ARRAYS = 3
"""Of a split's file, as large as its amplitudes: these, `Y_I` and `Y_phi`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMemory:
    """Parts of a job's largest memory, MiB."""

    base: float
    """Interpreter and libraries, after the smallest training; 0 on a GPU."""

    data: float
    """Training and validation split."""

    weights: float
    """The network's."""

    optimizer: float
    """What it keeps from step to step."""

    best: float
    """Copy of the best weights, kept on the CPU."""

    work: float
    """The larger of a step and a validation: activations, gradients, what operations need."""

    @property
    def peak(self) -> float:
        """All parts together."""
        return sum(asdict(self).values())


def job_memory(step: Footprint, work: Workload, *, base_mib: float, gpu: bool) -> JobMemory:
    """Return what a training job takes at its largest."""
    parts = {
        "base": 0.0 if gpu else base_mib,
        "data": _data_bytes(work, gpu=gpu) / MIB,
        "weights": step.weights / MIB,
        "optimizer": step.optimizer / MIB,
        "best": 0.0 if gpu else step.weights / MIB,
        # When better weights are copied, the old copy and the gradients are still there.
        "work": max(step.step, step.validation, 0 if gpu else 2 * step.weights) / MIB,
    }
    return JobMemory(**parts)


def peak_mib(run: RunSettings, work: Workload, *, base_mib: float, gpu: bool) -> float:
    """Return the largest memory of a run's job."""
    return job_memory(footprint(run, work), work, base_mib=base_mib, gpu=gpu).peak


def _data_bytes(work: Workload, *, gpu: bool) -> int:
    groups = work.groups["train"] + work.groups["validation"]
    if gpu:
        return 4 * groups * work.pixels
    # Groups of several patches are stored patch last, and copied into the network's order.
    copies = _ARRAYS + (1 if work.channels > 1 else 0)
    return 4 * groups * work.pixels * copies
