"""Every metric under images that are swapped, scaled, turned, moved, constant, broken or absent.

What has no law here fails: the metrics are found in the code by their arguments, whose names end in
the letters of a shape.
"""

import importlib
import inspect
import math
import pkgutil
import re

import numpy as np
import pytest
from tests.evaluate.metric_laws import METRICS, PRED, TRUTH, smooth

from ptycho_torch import evaluate
from ptycho_torch.evaluate import scores

EVERY = pytest.mark.parametrize("laws", METRICS.values(), ids=METRICS)

# By whom the laws of other functions on images are held.
ELSEWHERE = {
    "crossing": "test_frc",
    "compare_overlaps": "test_run",
    "reconstruct": "test_run",
    "wave_correlations": "test_run",
    "read_twin": "test_run",
    "least_squares_factor": "complex_error",
    "scan_errors": "r_factor",
    "similarity": "correlation and ssim, but for what takes the mean away",
    "windowed": "test_frc",
    "not_finite": "test_scores",
    "turn_back": "test_twin: an involution where the probe is bright",
    "trim": "no metric: it cuts",
}


def functions_on_images():
    """Public functions of `evaluate` with an argument whose name ends in letters of a shape."""
    for module in pkgutil.iter_modules(evaluate.__path__):
        found = importlib.import_module(f"ptycho_torch.evaluate.{module.name}")
        for name, function in inspect.getmembers(found, inspect.isfunction):
            arguments = inspect.signature(function).parameters
            shaped = any(re.search(r"_[A-Zn][A-Zn0-9]*$", name) for name in arguments)
            if function.__module__ == found.__name__ and shaped and not name.startswith("_"):
                yield name


def test_every_metric_has_its_laws():
    names = {name.split(".")[0] for name in METRICS}
    assert set(functions_on_images()) - names - set(ELSEWHERE) == set()
    assert {f"image_scores.{one}" for one in scores.KINDS} <= set(METRICS)


def worse(laws, value, than):
    return value is None or (value < than - 1e-6 if laws.higher else value > than + 1e-6)


def check(laws, law, value, before):
    if callable(law):
        assert value == pytest.approx(law(before), rel=1e-6)
    elif law == "same":
        assert value == pytest.approx(before, rel=1e-5, abs=1e-6)
    elif law == "worse":
        assert worse(laws, value, before)


@EVERY
def test_a_perfect_image_scores_best_and_others_less(laws):
    value, of_pred = laws.of(TRUTH, TRUTH), laws.of(TRUTH, PRED)
    assert value is None if laws.best is None else value == pytest.approx(laws.best, abs=1e-5)
    if laws.higher is not None:
        best = value if value is not None else math.inf
        assert worse(laws, of_pred, best)
        assert worse(laws, laws.of(TRUTH, smooth(7)), of_pred)


@EVERY
def test_swapping_truth_and_prediction(laws):
    swapped = laws.of(PRED, TRUTH)
    same = swapped == pytest.approx(laws.of(TRUTH, PRED), rel=1e-6, abs=1e-9)
    assert same == laws.symmetric


@EVERY
def test_scaling_turning_and_adding(laws):
    before = laws.of(TRUTH, PRED)
    check(laws, laws.scaled, laws.of(TRUTH, 3 * PRED), before)
    check(laws, laws.turned, laws.of(TRUTH, PRED * np.exp(0.7j)), before)
    check(laws, laws.added, laws.of(TRUTH, PRED + 1.5), before)


@EVERY
def test_a_moved_image_scores_less_unless_it_is_registered(laws):
    if laws.higher is None or laws.of is METRICS["register.all"].of:
        return
    assert worse(laws, laws.of(TRUTH, np.roll(PRED, 3, axis=0)), laws.of(TRUTH, PRED))


@EVERY
def test_a_constant_image_scores_less(laws):
    value = laws.of(TRUTH, np.full_like(TRUTH, TRUTH.mean()))
    if laws.constant == "worse":
        assert worse(laws, value, laws.of(TRUTH, PRED))
    elif laws.constant != "any":
        assert value == (None if laws.constant is None else pytest.approx(laws.constant, abs=1e-6))


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("where", ["a pixel", "everywhere"])
@pytest.mark.parametrize("broken", ["prediction", "truth"])
def test_broken_images_have_no_score_or_the_worst(laws, bad, where, broken):
    """Undefined, refused, or as bad as an image that has nothing to do with the truth."""
    image = (PRED if broken == "prediction" else TRUTH).copy()
    image[(5, 6) if where == "a pixel" else ...] = bad
    pair = (TRUTH, image) if broken == "prediction" else (image, PRED)
    with np.errstate(all="ignore"):
        try:
            value = laws.of(*pair)
        except (ValueError, np.linalg.LinAlgError):
            return
    if laws.higher is None and where == "everywhere" and not np.isfinite(bad):
        assert value is None
    if value is not None and laws.higher is not None:
        assert math.isfinite(value) or not laws.higher
        assert worse(laws, value, laws.of(TRUTH, PRED))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_truth_is_said_to_be_the_truth(bad):
    truth = abs(TRUTH)
    truth[3, 4] = bad
    assert set(scores.image_scores(truth, abs(PRED)).values()) == {scores.BROKEN_TRUTH}
    assert scores.ssim(truth, abs(PRED)) == scores.BROKEN_TRUTH


@EVERY
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_an_empty_image_has_no_score(laws):
    nothing = np.zeros((0, 0), complex)
    with np.errstate(all="ignore"):
        try:
            value = laws.of(nothing, nothing)
        except (ValueError, IndexError):
            return
    assert value is None or laws.higher is None
