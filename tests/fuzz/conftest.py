"""Programs of tests/campaigns, imported by name as they import each other."""

import importlib
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.files import npz as io_npz

CAMPAIGNS = Path(__file__).resolve().parents[1] / "campaigns"
sys.path[:0] = [str(CAMPAIGNS), str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def campaign():
    """What imports a program of the campaigns."""
    return importlib.import_module


@pytest.fixture
def scan_named(made):
    """Return a function that writes a small canonical NPZ of any name into a folder."""

    def write(folder, name):
        scan = made.a_scan(size=(28, 30))
        rows, columns = scan.positions_n2.T
        np.savez(
            folder / "made.npz", diffraction=scan.amplitude_nHW, xcoords=columns + 8,
            ycoords=rows + 8, probeGuess=scan.probe_MHW[0], objectGuess=scan.object_YX,
        )  # fmt: skip
        return (folder / "made.npz").rename(folder / name)

    return write


@pytest.fixture
def little_memory():
    """Memory may grow by 150 MiB and no more while the block runs; else the test fails."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


@pytest.fixture
def small_bound(monkeypatch):
    """What is harmless unpacked is 2 MiB here, so that bombs need not be large."""
    monkeypatch.setattr(io_npz, "_HARMLESS", 2 * 2**20)
