"""The largest memory of a training job, from its parts.

On a CPU it is what the process holds at most, as `timing.json` has it; on a GPU what torch has
allocated there. The parts are counted; how far a process's memory is larger than their sum is not
known before: what is freed is not always where the next tensor fits. One factor stands for that,
and docs/plan.md has what it is worth.
"""

from dataclasses import asdict, dataclass

from ptycho_torch.config.training import RunSettings
from ptycho_torch.train.cost.base import Base
from ptycho_torch.train.cost.footprint import Footprint, footprint
from ptycho_torch.train.cost.workload import Workload

MIB = 2**20
_ARRAYS = 3
"""Of a split's file, as large as its amplitudes: these, `Y_I` and `Y_phi`."""

_CHECK = 16
"""Bytes that a pixel takes while a split is read: amplitudes and their squares in float64."""

_SCATTERED = 1.5
"""Memory of a process over what lives in it at most in a step and in a validation: freed pieces
are kept, and tensors of the other shapes do not fit into them. Measured, not derived."""


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

    copies: float
    """Best and last weights, on the CPU; 0 on a GPU."""

    work: float
    """Activations, gradients, what operations need for a moment; of steps and validations, and on a
    CPU what lies between them."""

    reading: float
    """All that lives while the training split is read and checked, before anything is trained."""

    @property
    def peak(self) -> float:
        """The larger of training and reading."""
        return max(sum(asdict(self).values()) - self.reading, self.reading)


def job_memory(step: Footprint, work: Workload, run: RunSettings, base: Base | None) -> JobMemory:
    """Return what a training job takes at its largest.

    Parameters
    ----------
    base
        What each job takes on the CPU; None: the training runs on a GPU.
    """
    data = _data_bytes(work, gpu=base is None)
    if base is None:
        # What a step has freed serves the validation.
        parts = {"base": 0.0, "copies": 0.0, "work": max(step.step, step.validation) / MIB}
        reading = 0.0
    else:
        own = step.validation - step.weights  # The gradients are in the step already.
        parts = {
            "base": base.memory_mib,
            "copies": 2 * step.weights / MIB,
            "work": _SCATTERED * (step.step + own) / MIB,
        }
        train = work.groups["train"] * work.pixels
        reading = base.libraries_mib + train * (4 * _ARRAYS + _CHECK) / MIB
    return JobMemory(
        data=data / MIB,
        weights=step.weights / MIB,
        optimizer=step.optimizer / MIB,
        reading=reading,
        **parts,
    )


def peak_mib(run: RunSettings, work: Workload, base: Base | None) -> float:
    """Return the largest memory of a run's job."""
    return job_memory(footprint(run, work, gpu=base is None), work, run, base).peak


def _data_bytes(work: Workload, *, gpu: bool) -> int:
    groups = work.groups["train"] + work.groups["validation"]
    if gpu:
        return 4 * groups * work.pixels
    # Groups of several patches are stored patch last, and copied into the network's order.
    copies = _ARRAYS + (1 if work.channels > 1 else 0)
    return 4 * groups * work.pixels * copies
