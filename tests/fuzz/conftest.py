"""Programs of tests/campaigns, imported by name as they import each other."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

CAMPAIGNS = Path(__file__).resolve().parents[1] / "campaigns"
sys.path.insert(0, str(CAMPAIGNS))


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
