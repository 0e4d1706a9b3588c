"""Write ptychi.npz: what pty-chi's rPIE makes of two of the tests' scans.

Pty-chi has an environment of its own, so its numbers are stored and compared without it. Run it
there, from the repository's root, after `make setup-baseline`:

    PYTHONPATH=.:benchmarks .venv-baseline/bin/python tests/reconstruct/make_ptychi.py
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from ptychi_rpie import reconstruct_by_ptychi
from tests.samples import DETAILED, SCANS, a_scan

from ptycho_torch.config.scan import ConventionalSettings

RUNS = {
    "rpie": ConventionalSettings(iterations=30),
    "rpie_refined": ConventionalSettings(iterations=30, refine_probe=True),
}


def main() -> None:
    """Reconstruct and write."""
    arrays = {"ptychi": np.array(version("ptychi")), "torch": np.array(torch.__version__)}
    for name, jitter in SCANS.items():
        scan = a_scan(**DETAILED, jitter=jitter)
        for run, settings in RUNS.items():
            made = reconstruct_by_ptychi(scan, settings)
            print(name, run, made.error[-1], sum(made.seconds))
            arrays[f"{name}_{run}_object"] = made.object_YX
            arrays[f"{name}_{run}_probe"] = made.probe_MHW
            arrays[f"{name}_{run}_origin"] = np.array(made.origin)
            arrays[f"{name}_{run}_error"] = np.array(made.error[-1])
    np.savez(Path(__file__).with_name("ptychi.npz"), **arrays)


if __name__ == "__main__":
    main()
