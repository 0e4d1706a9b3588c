"""Every metric of images that are perfect, worse, scaled, turned, brightened or constant."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptycho_torch.evaluate import align, frc, real_data, scores


def smooth(seed, side=24):
    """Complex, with a mean modulus near 2 and phases that vary by about a radian."""
    random = np.random.default_rng(seed)
    amplitude, phase = (gaussian_filter(random.normal(size=(side, side)), 2) for _ in range(2))
    return (2 + 4 * amplitude) * np.exp(4j * phase)


TRUTH = smooth(0)
PRED = TRUTH + 0.2 * smooth(1) + 0.3 * np.random.default_rng(2).normal(size=TRUTH.shape)


@dataclass(frozen=True, kw_only=True)
class Laws:
    """How a metric must behave; `of(truth, prediction)` is a number, or None where undefined.

    best: what a perfect prediction scores, None if that is not defined; higher: whether more is
    better; the next three name what scaling by 3, turning by 0.7 rad and adding 1.5 do: nothing
    ("same"), "worse", or "any"; constant: of a constant prediction, "worse", or None: undefined.
    """

    of: Callable
    best: float | None
    higher: bool
    scaled: str = "worse"
    turned: str = "same"
    added: str = "worse"
    constant: str | None = "worse"


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


METRICS = {
    "ssim": Laws(of=kind("ssim"), best=1, higher=True),
    "mae": Laws(of=kind("mae"), best=0, higher=False),
    "psnr": Laws(of=kind("psnr_db"), best=None, higher=True),
    "pearson": Laws(
        of=kind("pearson_r"), best=1, higher=True, scaled="same", added="any", constant=None
    ),
    "frc": Laws(of=kind("frc_half"), best=0.5, higher=True, scaled="same", added="any",
                constant=None),
    "phases": Laws(of=phases_apart, best=0, higher=False, scaled="same"),
    "complex_error": Laws(of=align.complex_error, best=0, higher=False, scaled="same"),
    "ring_correlation": Laws(
        of=lambda truth, pred: float(frc.ring_correlation(truth, pred).mean()),
        best=1, higher=True, scaled="same", turned="worse", added="same",
    ),
    "correlation": Laws(of=align.correlation, best=1, higher=True, scaled="same"),
    "contrast_correlation": Laws(
        of=lambda truth, pred: real_data.similarity(truth, pred)["contrast_correlation"],
        best=1, higher=True, scaled="same", added="same", constant="any",
    ),
    "register_phase": Laws(of=registered("phase"), best=0, higher=False),
    "register_all": Laws(of=registered("all"), best=0, higher=False, scaled="same"),
}  # fmt: skip
EVERY = pytest.mark.parametrize("laws", METRICS.values(), ids=METRICS)


def worse(laws, value, than):
    return value is None or (value < than - 1e-6 if laws.higher else value > than + 1e-6)


@EVERY
def test_a_perfect_image_scores_best_and_others_less(laws):
    best, of_pred = laws.of(TRUTH, TRUTH), laws.of(TRUTH, PRED)
    assert best is None if laws.best is None else best == pytest.approx(laws.best, abs=1e-5)
    assert best is None or worse(laws, of_pred, best)
    assert worse(laws, laws.of(TRUTH, smooth(7)), of_pred)
    if laws is not METRICS["register_all"]:
        assert worse(laws, laws.of(TRUTH, np.roll(PRED, 3, axis=0)), of_pred)


@EVERY
def test_scaled_turned_brighter_and_constant_images(laws):
    before = laws.of(TRUTH, PRED)
    constant = laws.of(TRUTH, np.full_like(TRUTH, TRUTH.mean()))
    for law, value in (
        (laws.scaled, laws.of(TRUTH, 3 * PRED)),
        (laws.turned, laws.of(TRUTH, PRED * np.exp(0.7j))),
        (laws.added, laws.of(TRUTH, PRED + 1.5)),
        (laws.constant, constant),
    ):
        if law == "same":
            assert value == pytest.approx(before, rel=1e-5, abs=1e-6)
        elif law == "worse":
            assert worse(laws, value, before)
        elif law is None:
            assert value is None
