"""Every metric of images that are perfect, worse, scaled, turned, brightened or constant."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptycho_torch.evaluate import align, real_data, scores


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
        moved, _ = align.register(truth, np.pad(pred, align.MARGIN_PX, mode="wrap"), free=free)
        return float(np.linalg.norm(moved - truth) / np.linalg.norm(truth))

    return of


def phases_apart(truth, pred):
    one, other = align.aligned_phases(truth, pred)
    return float(np.abs(np.angle(np.exp(1j * (one - other)))).mean())


def rings(truth, pred):
    return float(scores.ring_correlation(truth, pred).mean())


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
    "complex_error": (align.complex_error, 0, "-", "same same worse worse"),
    "ring_correlation": (rings, 1, "+", "same worse same worse"),
    "correlation": (align.correlation, 1, "+", "same same worse worse"),
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
