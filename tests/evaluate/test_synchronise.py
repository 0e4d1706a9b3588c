"""Phases of patches from their overlaps: planted ones go, clean ones stay, gaps do no harm."""

import numpy as np
import pytest

from ptycho_torch.evaluate.overlaps import compare_overlaps
from ptycho_torch.evaluate.synchronise import phase_factors


def synchronise(scan, patches, **changed):
    where = {"positions_B2": scan.positions, "image_B": scan.image, **changed}
    intensity = (np.abs(scan.probe) ** 2).sum(axis=0)
    overlaps = compare_overlaps(patches, illumination_HW=intensity, **where)
    return phase_factors(overlaps, len(patches))


def spread(angles):
    """Largest distance from the mean direction, radians."""
    unit = np.exp(1j * np.asarray(angles))
    return np.abs(np.angle(unit * np.conj(unit.sum()))).max()


def turned(patches, seed=0):
    phases = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(patches))
    return phases, (patches * np.exp(1j * phases)[:, None, None]).astype(np.complex64)


@pytest.mark.parametrize("probe", ["disk", "triangle"])
def test_planted_phases_are_removed(scan, probe):
    scene = scan(probe)
    phases, patches = turned(scene.patches)

    factors = synchronise(scene, patches)

    np.testing.assert_allclose(np.abs(factors), 1.0)
    assert spread(phases + np.angle(factors)) < 1e-4


def test_clean_patches_are_left_alone(scan):
    scene = scan()

    np.testing.assert_allclose(synchronise(scene, scene.patches), 1.0, atol=1e-4)


def test_noise_moves_the_phases_a_little_only(scan):
    scene = scan()
    stream = np.random.default_rng(2)
    noise = stream.normal(size=scene.patches.shape) + 1j * stream.normal(size=scene.patches.shape)
    phases, patches = turned(scene.patches + 0.3 * np.abs(scene.patches).mean() * noise)

    assert spread(phases + np.angle(synchronise(scene, patches))) < 0.2


def test_only_lit_pixels_count(scan):
    """What a network draws in the dark has the largest amplitudes here, and random phases."""
    scene = scan("triangle")
    phases, patches = turned(scene.patches)
    dark = np.abs(scene.probe[0]) < 1e-3 * np.abs(scene.probe[0]).max()
    stream = np.random.default_rng(4)
    patches[:, dark] = 3 * np.exp(1j * stream.uniform(-3, 3, (len(patches), dark.sum())))

    assert spread(phases + np.angle(synchronise(scene, patches))) < 1e-3


def test_each_image_keeps_its_own_phase_and_does_not_touch_the_other(scan):
    scene = scan(images=2)
    phases, patches = turned(scene.patches)
    left = phases + np.angle(synchronise(scene, patches))

    for image in (0, 1):
        assert spread(left[scene.image == image]) < 1e-4


def test_zero_and_broken_patches_keep_their_phase_and_do_no_harm(scan):
    scene = scan()
    phases, patches = turned(scene.patches)
    patches[7], patches[50], patches[51, 3, 3] = 0.0, np.nan, np.inf
    whole = np.ones(len(patches), bool)
    whole[[7, 50, 51]] = False

    factors = synchronise(scene, patches)

    np.testing.assert_array_equal(factors[~whole], 1.0)
    assert spread((phases + np.angle(factors))[whole]) < 1e-4


def test_islands_are_synchronised_each_for_itself(scan):
    scene = scan()
    phases, patches = turned(scene.patches)
    positions = scene.positions.copy()
    island = np.arange(len(positions)) >= 100
    positions[island] += 1000

    left = phases + np.angle(synchronise(scene, patches, positions_B2=positions))

    assert spread(left[~island]) < 1e-4
    assert spread(left[island]) < 1e-4


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_nothing_to_go_by(scan, value):
    scene = scan()

    factors = synchronise(scene, np.full_like(scene.patches, value))

    np.testing.assert_array_equal(factors, 1.0)


def test_the_same_bytes_every_time(scan):
    scene = scan()
    _, patches = turned(scene.patches)

    assert synchronise(scene, patches).tobytes() == synchronise(scene, patches).tobytes()


def test_agreement_is_one_for_patches_of_one_object_and_less_for_others(scan):
    scene = scan()
    intensity = (np.abs(scene.probe) ** 2).sum(axis=0)
    where = (scene.positions, scene.image, intensity)

    same = compare_overlaps(1e30 * scene.patches, *where).agreement_K
    other = compare_overlaps(np.random.default_rng(0).permutation(scene.patches), *where)

    np.testing.assert_allclose(same, 1.0, atol=1e-4)
    assert np.median(other.agreement_K) < 0.999
