"""Every metric of images that are perfect, worse, scaled, turned, brightened or constant; Fourier
ring correlation; the twin; phases of patches from their overlaps."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.evaluate.conftest import planted_twin, scan

from ptycho_torch.evaluate import real_data, scores
from ptycho_torch.evaluate.block import phase_factors
from ptycho_torch.evaluate.scores import crossing, half_bit, ring_correlation, ring_frequencies
from ptycho_torch.evaluate.truth import read_twin


def smooth(seed, side=24):
    """Complex, with a mean modulus near 2 and phases that vary by about a radian."""
    random = np.random.default_rng(seed)
    amplitude, phase = (gaussian_filter(random.normal(size=(side, side)), 2) for _ in range(2))
    return (2 + 4 * amplitude) * np.exp(4j * phase)


TRUTH = smooth(0)
PRED = TRUTH + 0.2 * smooth(1) + 0.3 * np.random.default_rng(2).normal(size=TRUTH.shape)


def kind(name):
    return lambda truth, pred: scores.value_of(scores.image_scores(abs(truth), abs(pred))[name])


def registered(free):
    """Relative distance that is left after registration of the prediction, given a margin."""

    def of(truth, pred):
        moved, _ = scores.register(truth, np.pad(pred, scores.MARGIN_PX, mode="wrap"), free=free)
        return float(np.linalg.norm(moved - truth) / np.linalg.norm(truth))

    return of


def phases_apart(truth, pred):
    one, other = scores.aligned_phases(truth, pred)
    return float(np.abs(np.angle(np.exp(1j * (one - other)))).mean())


def rings(truth, pred):
    return float(ring_correlation(truth, pred).mean())


def contrast(truth, pred):
    return real_data.similarity(truth, pred)["contrast_correlation"]


# A metric, what a perfect prediction scores (None: not defined), whether more is better (+), and
# what scaling by 3, turning by 0.7 rad, adding 1.5 and a constant image do.
METRICS = {
    "ssim": (kind("ssim"), 1, "+", "worse same worse worse"),
    "mae": (kind("mae"), 0, "-", "worse same worse worse"),
    "psnr": (kind("psnr_db"), None, "+", "worse same worse worse"),
    "pearson": (kind("pearson_r"), 1, "+", "same same any undefined"),
    "frc": (kind("frc_half"), 0.5, "+", "same same any undefined"),
    "phases": (phases_apart, 0, "-", "same same worse worse"),
    "complex_error": (scores.complex_error, 0, "-", "same same worse worse"),
    "ring_correlation": (rings, 1, "+", "same worse same worse"),
    "correlation": (scores.correlation, 1, "+", "same same worse worse"),
    "contrast_correlation": (contrast, 1, "+", "same same same any"),
    "register_phase": (registered("phase"), 0, "-", "worse same worse worse"),
    "register_all": (registered("all"), 0, "-", "same same worse worse"),
}


@pytest.mark.parametrize("name", METRICS)
def test_laws(name):
    of, perfect, sign, laws = METRICS[name]

    def worse(value, than):
        return value is None or (value < than - 1e-6 if sign == "+" else value > than + 1e-6)

    best, before = of(TRUTH, TRUTH), of(TRUTH, PRED)
    assert best is None if perfect is None else best == pytest.approx(perfect, abs=1e-5)
    assert best is None or worse(before, best)
    assert worse(of(TRUTH, smooth(7)), before)
    if name != "register_all":
        assert worse(of(TRUTH, np.roll(PRED, 3, axis=0)), before)
    constant = np.full_like(TRUTH, TRUTH.mean())
    changed = (3 * PRED, PRED * np.exp(0.7j), PRED + 1.5, constant)
    for law, image in zip(laws.split(), changed, strict=True):
        value = of(TRUTH, image)
        if law == "same":
            assert value == pytest.approx(before, rel=1e-5, abs=1e-6)
        elif law == "worse":
            assert worse(value, before)
        elif law == "undefined":
            assert value is None


def noise(seed, shape=(64, 64)):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", [(64, 64), (63, 63), (60, 80)])
def test_an_image_agrees_with_itself_and_disagrees_with_its_negative(shape):
    image, frequencies = noise(0, shape), ring_frequencies(shape)
    curve = ring_correlation(image, 3.0 * image + 5.0)
    np.testing.assert_allclose(curve, np.ones(len(frequencies)), atol=1e-12)
    np.testing.assert_allclose(ring_correlation(image, -image), -1.0, atol=1e-12)
    np.testing.assert_array_equal(ring_correlation(image, np.full(shape, 2.0)), 0.0)
    assert frequencies[-1] == pytest.approx(0.5, abs=0.51 / min(shape))
    assert crossing(frequencies, curve) == 0.5


def test_neither_independent_noise_nor_the_border_alone_correlates():
    """Without a window, two ramps share the cross of their jumps at the border."""
    curve = ring_correlation(noise(1, (128, 128)), noise(2, (128, 128)))
    assert np.abs(curve[16:]).max() < 0.4
    row = np.mgrid[0:64, 0:64][0] / 6.0
    assert np.abs(ring_correlation(row + noise(5), row + noise(6))[5:]).mean() < 0.15


@pytest.mark.parametrize("cut_off", [0.1, 0.2, 0.35])
def test_the_crossings_find_where_complex_images_turn_to_noise(cut_off):
    image, other = (noise(n, (256, 256)) + 1j * noise(n + 9, (256, 256)) for n in (3, 4))
    rows, columns = np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :]
    kept = np.hypot(rows, columns) <= cut_off
    mixed = np.fft.ifft2(np.where(kept, np.fft.fft2(image), np.fft.fft2(other)))
    frequencies, curve = ring_frequencies((256, 256)), ring_correlation(image, mixed)
    assert crossing(frequencies, curve) == pytest.approx(cut_off, abs=2 / 256)
    above = curve - half_bit((256, 256))
    assert crossing(frequencies, above, 0.0) == pytest.approx(cut_off, abs=3 / 256)


@pytest.mark.parametrize(
    ("curve", "level", "expected"),
    [
        ([0.9, 0.6, 0.2, 0.9], 0.5, 0.225),
        ([0.0, 0.9, 0.9, 0.9], 0.5, 0.05),
        ([0.9, 0.6, 0.4, 0.1], 1 / 7, 0.3 + 0.1 * (0.4 - 1 / 7) / 0.3),
    ],
)
def test_the_crossing_is_linear_between_rings_and_before_the_first_one(curve, level, expected):
    frequencies = np.array([0.1, 0.2, 0.3, 0.4])
    assert crossing(frequencies, np.array(curve), level) == pytest.approx(expected)


def test_the_half_bit_threshold_falls_with_the_pixels_of_a_ring():
    curve = half_bit((400, 400))
    snr = (2**0.5 - 1) / 2
    assert curve[0] > 0.7 and (np.diff(curve[::20]) < 0).all()
    # Of the ring's 2 pi 200 pixels the Hann window leaves (9/64 / (35/128))^2 = 0.264.
    root = np.sqrt(2 * np.pi * 200 * 0.26449)
    expected = (snr + (2 * snr**0.5 + 1) / root) / (snr + 1 + 2 * snr**0.5 / root)
    assert curve[-1] == pytest.approx(expected, abs=0.01)


ALL_PROBES = pytest.mark.parametrize("probe", ["disk", "curved_disk", "triangle"])


def noisy(patches, level=0.02):
    stream = np.random.default_rng(0)
    noise = stream.normal(size=patches.shape) + 1j * stream.normal(size=patches.shape)
    return (patches + level * np.abs(patches).mean() * noise).astype(np.complex64)


@ALL_PROBES
def test_a_planted_twin_is_found_and_a_clean_reconstruction_is_none(probe):
    """Under the ideal disk truth and twin correlate above 0.99: a limit of 0.9 finds nothing.
    Neither scale nor phase of a patch matters."""
    scene = scan(probe)
    clean = read_twin(noisy(scene.patches_BHW), scene)
    assert clean["share"] == 0.0 and clean["direct_correlation"] > 0.99
    assert clean["distinct_patches"] > 0.9 * clean["patches"]
    stream = np.random.default_rng(0)
    size, turn = stream.uniform(-9, 9, (2, len(scene.patches_BHW), 1, 1))
    factor = (10**size * np.exp(1j * turn)).astype(np.complex64)
    twin = read_twin(noisy(planted_twin(scene)) * factor, scene)
    assert twin["share"] == 1.0
    assert twin["twin_correlation"] > max(0.95, twin["direct_correlation"])
    assert twin["best_correlation"] == pytest.approx(twin["twin_correlation"])


@ALL_PROBES
def test_the_share_of_a_mixture_is_that_of_the_planted_patches(probe):
    """An empty object is on neither side: its correlations tie, and rounding must not decide."""
    scene = scan(probe)
    planted = np.random.default_rng(1).random(len(scene.patches_BHW)) < 0.4
    mixed = np.where(planted[:, None, None], planted_twin(scene), scene.patches_BHW)
    assert read_twin(mixed, scene)["share"] == pytest.approx(planted.mean(), abs=0.02)
    assert read_twin(np.ones_like(mixed), scene)["share"] == 0.0


def test_modes_are_turned_one_by_one():
    scene = scan("triangle")
    probe = np.concatenate([scene.probe_MHW, 0.5 * np.roll(scene.probe_MHW, 2, axis=-1)])
    two = replace(scene, probe_MHW=probe)
    assert read_twin(scene.patches_BHW, two)["direct_correlation"] == pytest.approx(1, abs=1e-6)
    assert read_twin(planted_twin(two), two)["share"] > 0.99


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_broken_patches_take_no_part(bad):
    scene = scan("triangle")
    pred = scene.patches_BHW.copy()
    pred[:10] = bad
    with np.errstate(invalid="ignore"):
        some, none = read_twin(pred, scene), read_twin(np.full_like(pred, bad), scene)
    assert (some["distinct_patches"], some["share"]) == (len(pred) - 10, 0.0)
    assert none["share"] is none["direct_correlation"] is none["best_correlation"] is None


def spread(angles):
    """Largest distance from the mean direction, radians."""
    unit = np.exp(1j * np.asarray(angles))
    return np.abs(np.angle(unit * np.conj(unit.sum()))).max()


def turned(patches):
    phases = np.random.default_rng(0).uniform(-np.pi, np.pi, len(patches))
    return phases, (patches * np.exp(1j * phases)[:, None, None]).astype(np.complex64)


@pytest.mark.parametrize("probe", ["disk", "triangle"])
def test_planted_phases_are_removed_and_clean_patches_left_alone(probe):
    scene = scan(probe)
    phases, patches = turned(scene.patches_BHW)
    factors = phase_factors(patches, scene)
    np.testing.assert_allclose(np.abs(factors), 1.0)
    assert spread(phases + np.angle(factors)) < 1e-4
    assert factors.tobytes() == phase_factors(patches, scene).tobytes()
    np.testing.assert_allclose(phase_factors(scene.patches_BHW, scene), 1.0, atol=1e-4)


def test_only_illuminated_pixels_count():
    """What a network draws in the dark has the largest amplitudes here, and random phases."""
    scene = scan("triangle")
    phases, patches = turned(scene.patches_BHW)
    dark = np.abs(scene.probe_MHW[0]) < 1e-3 * np.abs(scene.probe_MHW[0]).max()
    stream = np.random.default_rng(4)
    patches[:, dark] = 3 * np.exp(1j * stream.uniform(-3, 3, (len(patches), dark.sum())))
    assert spread(phases + np.angle(phase_factors(patches, scene))) < 1e-3


def test_images_and_islands_are_synchronised_each_for_itself():
    two = scan(images=2)
    phases, patches = turned(two.patches_BHW)
    left = phases + np.angle(phase_factors(patches, two))
    assert max(spread(left[two.image_B == image]) for image in (0, 1)) < 1e-4
    island = np.arange(len(scan().positions_B2)) >= 100
    apart = replace(scan(), positions_B2=scan().positions_B2 + 1000 * island[:, None])
    phases, patches = turned(scan().patches_BHW)
    left = phases + np.angle(phase_factors(patches, apart))
    assert max(spread(left[island]), spread(left[~island])) < 1e-4


def test_zero_and_broken_patches_keep_their_phase_and_do_no_harm():
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
