"""A small scan whose patterns are known, its arrays in the canonical layout, and a file of them."""

import numpy as np
import pytest
from tests import scans
from tests.scans import a_scan

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.read import read_scan


@pytest.fixture
def scan():
    return a_scan()


@pytest.fixture
def canonical(scan):
    """Arrays of the scan in the canonical NPZ of the field."""
    return scans.canonical(scan, scan_index=np.zeros(len(scan), int))


@pytest.fixture
def read_npz(tmp_path):
    """Write arrays as scan.npz, and read it."""

    def read(arrays, **reading):
        np.savez(tmp_path / "scan.npz", **arrays)
        return read_scan(tmp_path / "scan.npz", ScanConventions(**reading))

    return read
