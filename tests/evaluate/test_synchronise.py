"""Phases of patches from their overlaps: planted ones go, clean ones stay, gaps do no harm."""

from dataclasses import replace

import numpy as np
import pytest

from ptycho_torch.evaluate.block import phase_factors


def spread(angles):
    """Largest distance from the mean direction, radians."""
    unit = np.exp(1j * np.asarray(angles))
    return np.abs(np.angle(unit * np.conj(unit.sum()))).max()


def turned(patches):
    phases = np.random.default_rng(0).uniform(-np.pi, np.pi, len(patches))
    return phases, (patches * np.exp(1j * phases)[:, None, None]).astype(np.complex64)


@pytest.mark.parametrize("probe", ["disk", "triangle"])
def test_planted_phases_are_removed_and_clean_patches_left_alone(scan, probe):
    scene = scan(probe)
    phases, patches = turned(scene.patches_BHW)
    factors = phase_factors(patches, scene)
    np.testing.assert_allclose(np.abs(factors), 1.0)
    assert spread(phases + np.angle(factors)) < 1e-4
    assert factors.tobytes() == phase_factors(patches, scene).tobytes()
    np.testing.assert_allclose(phase_factors(scene.patches_BHW, scene), 1.0, atol=1e-4)


def test_only_illuminated_pixels_count(scan):
    """What a network draws in the dark has the largest amplitudes here, and random phases."""
    scene = scan("triangle")
    phases, patches = turned(scene.patches_BHW)
    dark = np.abs(scene.probe_MHW[0]) < 1e-3 * np.abs(scene.probe_MHW[0]).max()
    stream = np.random.default_rng(4)
    patches[:, dark] = 3 * np.exp(1j * stream.uniform(-3, 3, (len(patches), dark.sum())))
    assert spread(phases + np.angle(phase_factors(patches, scene))) < 1e-3


def test_images_and_islands_are_synchronised_each_for_itself(scan):
    two = scan(images=2)
    phases, patches = turned(two.patches_BHW)
    left = phases + np.angle(phase_factors(patches, two))
    assert max(spread(left[two.image_B == image]) for image in (0, 1)) < 1e-4
    island = np.arange(len(scan().positions_B2)) >= 100
    apart = replace(scan(), positions_B2=scan().positions_B2 + 1000 * island[:, None])
    phases, patches = turned(scan().patches_BHW)
    left = phases + np.angle(phase_factors(patches, apart))
    assert max(spread(left[island]), spread(left[~island])) < 1e-4


def test_zero_and_broken_patches_keep_their_phase_and_do_no_harm(scan):
    scene = scan()
    phases, patches = turned(scene.patches_BHW)
    patches[7], patches[50], patches[51, 3, 3] = 0.0, np.nan, np.inf
    whole = np.ones(len(patches), bool)
    whole[[7, 50, 51]] = False
    factors = phase_factors(patches, scene)
    np.testing.assert_array_equal(factors[~whole], 1.0)
    assert spread((phases + np.angle(factors))[whole]) < 1e-4
    for value in (0.0, np.nan):
        np.testing.assert_array_equal(phase_factors(np.full_like(patches, value), scene), 1.0)
