"""A small scan whose patterns are known, and its arrays in the canonical layout."""

import numpy as np
import pytest

N = 16


@pytest.fixture
def scan(made):
    return made.a_scan()


@pytest.fixture
def canonical(scan):
    """Arrays of the scan in the canonical NPZ of the field."""
    rows, columns = scan.positions_n2.T
    return {
        "diffraction": scan.amplitude_nHW,
        "xcoords": columns + N // 2,
        "ycoords": rows + N // 2,
        "probeGuess": scan.probe_MHW[0],
        "objectGuess": scan.object_YX,
        "scan_index": np.zeros(len(scan), int),
    }
