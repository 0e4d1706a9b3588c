"""What a scan must equal, and what must have been said of it."""

import numpy as np


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
