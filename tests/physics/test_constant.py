"""What a constant object explains: the bar that learning has to pass."""

import numpy as np
import pytest
import torch

from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.physics.predict import constant_loss


def frames_of(objects, probe):
    patches = torch.from_numpy(np.asarray(objects, np.complex64))[:, None]
    return amplitudes(patches, torch.from_numpy(probe))[:, 0].numpy()


def test_the_best_constant_is_the_weighted_median_of_the_ratios(made):
    probe = made.a_probe(16).astype(np.complex64)
    stream = np.random.default_rng(0)
    objects = 1 + 0.8 * stream.normal(size=(5, 16, 16))
    seen, empty = frames_of(objects, probe), frames_of(np.ones((1, 16, 16)), probe)[0]
    ratios, weights = (seen / empty).ravel(), np.broadcast_to(empty, seen.shape).ravel()
    order = np.argsort(ratios)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    expected = np.abs(ratios[order][half] * empty - seen).sum() / seen.sum()
    assert constant_loss(seen, probe) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("factor", [0.03, 1.0, 70.0])
def test_a_constant_object_is_explained_at_any_scale(made, factor):
    probe = made.a_probe(16, modes=2).astype(np.complex64)
    seen = frames_of(np.full((3, 16, 16), factor * np.exp(1j)), probe)
    assert constant_loss(seen, probe) < 1e-4
