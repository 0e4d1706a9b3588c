"""What a training job takes before it has any size: `python -m ptycho_torch.train.cost.base`.

The smallest training, in a process of its own: interpreter, libraries, and what these set up when
they are first used. Prints the process's memory, MiB.
"""

import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass

BLOCKS = {
    "generator": {"name": "hybrid", "width": 4, "fno_blocks": 2, "modes": 4},
    "training": {
        "epochs": 1,
        "batch_size": 4,
        "loss": "mae",
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "schedule": {"name": "constant"},
    },
    "execution": {"clip": {"gradient_clip_algorithm": "none"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What each training job takes, whatever its size."""

    libraries_mib: float
    """Memory once everything is imported."""

    memory_mib: float
    """The process's largest memory."""

    start_s: float
    """Seconds from its start to its end."""


def measure_base() -> Base:
    """Start the smallest training in a process of its own and measure it."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "ptycho_torch.train.cost.base"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    memory = json.loads(done.stdout.splitlines()[-1])
    return Base(**memory, start_s=time.perf_counter() - began)


def main() -> None:
    """Train and print."""
    from ptycho_torch.config.training import RunSettings
    from ptycho_torch.runtime.memory import process_peak
    from ptycho_torch.train.cost.probe import probe
    from ptycho_torch.train.cost.workload import Workload

    logging.disable()
    names = {"dataset": "none", "patch_px": 16, "arm": "none", "seed": 0}
    run = RunSettings.model_validate({**names, **BLOCKS})
    groups = {"train": 8, "validation": 4, "test": 4}
    work = Workload(patch_px=16, channels=1, groups=groups, reach_px=0)
    libraries = process_peak() / 2**20
    probe(run, work, steps=1)
    print(json.dumps({"libraries_mib": libraries, "memory_mib": process_peak() / 2**20}))


if __name__ == "__main__":
    main()
