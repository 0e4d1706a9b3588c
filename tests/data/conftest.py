"""A small scan whose patterns are known, its arrays in the canonical layout, and a file of them."""

import numpy as np
import pytest
from tests import samples
from tests.samples import a_scan

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.read import read_scan


@pytest.fixture
def scan():
    return a_scan()


@pytest.fixture
def canonical(scan):
    """Arrays of the scan in the canonical NPZ of the field."""
    return samples.canonical(scan, scan_index=np.zeros(len(scan), int))


@pytest.fixture
def read_npz(tmp_path):
    """Write arrays as scan.npz, and read it."""

    def read(arrays, **reading):
        np.savez(tmp_path / "scan.npz", **arrays)
        return read_scan(tmp_path / "scan.npz", ScanConventions(**reading))

    return read


def same(found, expected):
    np.testing.assert_allclose(found.amplitude_nHW, expected.amplitude_nHW, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.positions_n2, expected.positions_n2, atol=1e-9)
    for key in ("probe_MHW", "object_YX"):
        np.testing.assert_allclose(getattr(found, key), getattr(expected, key), atol=1e-6)
    assert (found.used == expected.used).all()
    assert found.intensity_scale == expected.intensity_scale


def note(scan, words):
    """Return the note with these words, which there must be."""
    assert any(words in note for note in scan.notes), scan.notes
    return next(note for note in scan.notes if words in note)
