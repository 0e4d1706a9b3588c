"""The twin: found where it is, not seen where it is not, and harmless once turned back."""

import numpy as np
import pytest

from ptycho_torch.evaluate.twin import (
    read_twin,
    turn_back,
    turned_wave,
    wave_correlations,
)

ALL_PROBES = ["disk", "curved_disk", "triangle"]


def read(scan, pred):
    correlations = wave_correlations(scan.patches, pred, scan.probe)
    return read_twin(correlations, pred, scan.positions, scan.image, scan.probe)


def noisy(patches, level=0.02):
    stream = np.random.default_rng(0)
    noise = stream.normal(size=patches.shape) + 1j * stream.normal(size=patches.shape)
    return (patches + level * np.abs(patches).mean() * noise).astype(np.complex64)


def relative_loss(patches, other, probe):
    """Mean |A - A'| over mean A of the diffraction amplitudes, by numpy's FFT."""
    first, second = (
        np.sqrt((np.abs(np.fft.fft2(p[:, None] * probe, norm="ortho")) ** 2).sum(axis=1))
        for p in (patches.astype(complex), other.astype(complex))
    )
    return np.abs(first - second).mean() / first.mean()


@pytest.mark.parametrize("probe", ALL_PROBES)
def test_a_clean_reconstruction_is_not_called_a_twin(scan, probe):
    scene = scan(probe)

    reading = read(scene, noisy(scene.patches))

    assert reading.share == 0.0
    assert reading.direct_correlation > 0.99
    assert reading.distinct_patches > 0.9 * reading.patches


@pytest.mark.parametrize("probe", ALL_PROBES)
def test_a_planted_twin_is_found(scan, probe):
    """Under the ideal disk truth and twin correlate above 0.99: a limit of 0.9 finds nothing."""
    scene = scan(probe)

    reading = read(scene, noisy(turn_back(scene.patches, scene.probe)))

    assert reading.share == 1.0
    assert reading.twin_correlation > 0.95
    assert reading.twin_correlation > reading.direct_correlation


@pytest.mark.parametrize("probe", ALL_PROBES)
def test_the_share_of_a_mixture_is_that_of_the_planted_patches(scan, probe):
    scene = scan(probe)
    planted = np.random.default_rng(1).random(len(scene.patches)) < 0.4
    twin = turn_back(scene.patches, scene.probe)

    reading = read(scene, np.where(planted[:, None, None], twin, scene.patches))

    assert reading.share == pytest.approx(planted.mean(), abs=0.02)


@pytest.mark.parametrize("probe", ALL_PROBES)
def test_an_empty_object_is_on_neither_side(scan, probe):
    """Under a symmetric probe its two correlations tie, and rounding must not decide."""
    scene = scan(probe)

    assert read(scene, np.ones_like(scene.patches)).share == 0.0


def test_neither_scale_nor_phase_of_a_patch_matters(scan):
    scene = scan("disk")
    stream = np.random.default_rng(0)
    factor = 10 ** stream.uniform(-20, 20, len(scene.patches)) * np.exp(
        1j * stream.uniform(-3, 3, len(scene.patches))
    )
    pred = turn_back(scene.patches, scene.probe)

    plain = wave_correlations(scene.patches, pred, scene.probe)
    scaled = wave_correlations(
        scene.patches, pred * factor[:, None, None].astype(np.complex64), scene.probe
    )

    np.testing.assert_allclose(scaled.direct, plain.direct, atol=1e-6)
    np.testing.assert_allclose(scaled.twin, plain.twin, atol=1e-6)


@pytest.mark.parametrize("probe", ["disk", "curved_disk"])
def test_the_data_of_a_symmetric_probe_cannot_tell_the_twin(scan, probe):
    scene = scan(probe)
    exact = turned_wave(scene.patches.astype(complex) * scene.probe[0]) / scene.probe[0]

    assert relative_loss(scene.patches, exact, scene.probe) < 1e-5
    assert relative_loss(scene.patches, turn_back(scene.patches, scene.probe), scene.probe) < 0.04
    # It is no other name for the truth: the object differs.
    assert np.abs(exact - scene.patches)[:, 8:24, 8:24].mean() > 0.02


def test_the_triangles_data_can_tell_the_twin(scan):
    """Turned, conjugated and divided by the probe, but bounded as a network's output is."""
    scene = scan("triangle")
    twin = turn_back(scene.patches, scene.probe)
    largest = np.abs(scene.patches).max()
    bounded = twin * np.minimum(1, largest / np.maximum(np.abs(twin), 1e-9))

    assert relative_loss(scene.patches, bounded, scene.probe) > 0.2


def test_turning_back_twice_restores_the_lit_part(scan):
    scene = scan("disk")
    lit = np.abs(scene.probe[0]) > 0.5 * np.abs(scene.probe[0]).max()

    twice = turn_back(turn_back(scene.patches, scene.probe), scene.probe)

    np.testing.assert_allclose(twice[:, lit], scene.patches[:, lit], rtol=0.02)


@pytest.mark.parametrize("probe", ["curved_disk", "triangle"])
def test_the_overlaps_tell_the_twin_without_a_truth(scan, probe):
    scene = scan(probe)

    clean = read(scene, noisy(scene.patches))
    twin = read(scene, turn_back(scene.patches, scene.probe))

    assert clean.overlap_direct > 0.95 > clean.overlap_twin + 0.2
    assert twin.overlap_twin > 0.9 > twin.overlap_direct + 0.2


def test_modes_are_turned_one_by_one(scan):
    scene = scan("triangle")
    probe = np.concatenate([scene.probe, 0.5 * np.roll(scene.probe, 2, axis=-1)])
    twin = turn_back(scene.patches, probe)

    there = wave_correlations(scene.patches, scene.patches, probe)
    back = wave_correlations(scene.patches, twin, probe)

    np.testing.assert_allclose(there.direct, 1.0, atol=1e-6)
    assert back.on_twin.mean() > 0.99


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_broken_patches_take_no_part(scan, bad):
    scene = scan("triangle")
    pred = scene.patches.copy()
    pred[:10] = bad

    with np.errstate(invalid="ignore"):
        some, none = read(scene, pred), read(scene, np.full_like(pred, bad))

    assert some.distinct_patches == len(pred) - 10
    assert some.share == 0.0
    assert none.share is None
    assert none.direct_correlation is none.best_correlation is none.overlap_direct is None
    assert none.patches == len(pred)
