"""The twin: found where it is, and not seen where it is not. Phases of patches from their overlaps:
planted ones go, clean ones stay, gaps do no harm."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluate.conftest import planted_twin

from ptycho_torch.evaluate.overlaps import phase_factors
from ptycho_torch.evaluate.twin import read_twin, wave_correlations

ALL_PROBES = pytest.mark.parametrize("probe", ["disk", "curved_disk", "triangle"])


def noisy(patches, level=0.02):
    stream = np.random.default_rng(0)
    noise = stream.normal(size=patches.shape) + 1j * stream.normal(size=patches.shape)
    return (patches + level * np.abs(patches).mean() * noise).astype(np.complex64)


@ALL_PROBES
def test_a_planted_twin_is_found_and_a_clean_reconstruction_is_none(scan, probe):
    """Under the ideal disk truth and twin correlate above 0.99: a limit of 0.9 finds nothing."""
    scene = scan(probe)
    clean = read_twin(noisy(scene.patches_BHW), scene)
    assert clean.share == 0.0 and clean.direct_correlation > 0.99
    assert clean.distinct_patches > 0.9 * clean.patches
    twin = read_twin(noisy(planted_twin(scene)), scene)
    assert twin.share == 1.0
    assert twin.twin_correlation > max(0.95, twin.direct_correlation)
    assert twin.best_correlation == pytest.approx(twin.twin_correlation)


@ALL_PROBES
def test_the_share_of_a_mixture_is_that_of_the_planted_patches(scan, probe):
    """An empty object is on neither side: its correlations tie, and rounding must not decide."""
    scene = scan(probe)
    planted = np.random.default_rng(1).random(len(scene.patches_BHW)) < 0.4
    mixed = np.where(planted[:, None, None], planted_twin(scene), scene.patches_BHW)
    assert read_twin(mixed, scene).share == pytest.approx(planted.mean(), abs=0.02)
    assert read_twin(np.ones_like(mixed), scene).share == 0.0


def test_neither_scale_nor_phase_of_a_patch_matters(scan):
    scene = scan("disk")
    stream = np.random.default_rng(0)
    size, turn = stream.uniform(-20, 20, len(scene.patches_BHW)), stream.uniform(-3, 3, 169)
    factor = (10**size * np.exp(1j * turn))[:, None, None].astype(np.complex64)
    plain, scaled = (
        wave_correlations(scene.patches_BHW, made, scene.probe_MHW)
        for made in (planted_twin(scene), planted_twin(scene) * factor)
    )
    np.testing.assert_allclose(scaled, plain, atol=1e-6)


def test_modes_are_turned_one_by_one(scan):
    scene = scan("triangle")
    probe = np.concatenate([scene.probe_MHW, 0.5 * np.roll(scene.probe_MHW, 2, axis=-1)])
    two = replace(scene, probe_MHW=probe)
    assert read_twin(scene.patches_BHW, two).direct_correlation == pytest.approx(1, abs=1e-6)
    assert read_twin(planted_twin(two), two).share > 0.99


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_broken_patches_take_no_part(scan, bad):
    scene = scan("triangle")
    pred = scene.patches_BHW.copy()
    pred[:10] = bad
    with np.errstate(invalid="ignore"):
        some, none = read_twin(pred, scene), read_twin(np.full_like(pred, bad), scene)
    assert (some.distinct_patches, some.share) == (len(pred) - 10, 0.0)
    assert none.share is none.direct_correlation is none.best_correlation is None


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
