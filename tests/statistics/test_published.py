"""Published data through the study's statistics: Freireich's leukaemia, Fisher's tea and maize."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics import estimates

# Freireich et al. (1963), Blood 21, 699: weeks in remission.
RELAPSED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
STILL_WELL = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
# Darwin (1876), in Fisher (1935), section 21: crossed minus selfed maize, eighths of an inch.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def _steps(failed, well):
    return {step.epoch: step for step in estimates.kaplan_meier(failed, well, 0.95)}


def test_kaplan_meier_gives_the_published_curve_of_the_leukaemia_trial():
    """6-MP group: Kalbfleisch and Prentice (1980), and every survival textbook since."""
    steps = _steps(RELAPSED, STILL_WELL)
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    for week, survival in published.items():
        assert steps[week].survival == pytest.approx(survival, abs=6e-4)
    assert [steps[week].at_risk for week in published] == [21, 17, 15, 12, 11, 7, 6]
    assert (steps[6].interval.low, steps[6].interval.high) == pytest.approx(
        (0.620, 0.952), abs=6e-4
    )


@pytest.mark.parametrize(
    ("week", "survival", "low", "high"), [(1, 0.9048, 0.6700, 0.9753), (2, 0.8095, 0.5689, 0.9239)]
)
def test_log_log_intervals_are_those_that_stata_prints(week, survival, low, high):
    """Placebo group, as printed by `sts list` in Rodriguez, The Gehan Survival Data (Princeton)."""
    step = _steps(PLACEBO, [])[week]
    assert step.survival == pytest.approx(survival, abs=6e-5)
    assert step.interval.low == pytest.approx(low, abs=6e-5)
    assert step.interval.high == pytest.approx(high, abs=6e-5)


def test_log_log_intervals_follow_greenwoods_formula():
    """S^exp(+-z s / log S), s^2 the sum of d / (n (n - d)); a linear interval fails here."""
    total = 0.0
    for week, step in sorted(_steps(RELAPSED, STILL_WELL).items()):
        if step.failures:
            total += step.failures / (step.at_risk * (step.at_risk - step.failures))
        if step.survival == 1:
            continue
        shift = 1.959964 * math.sqrt(total) / math.log(step.survival)
        bounds = sorted(step.survival ** math.exp(sign * shift) for sign in (-1, 1))
        assert (step.interval.low, step.interval.high) == pytest.approx(bounds, abs=1e-6), week


def test_fisher_agrees_with_the_lady_tasting_tea():
    """3 of 4 cups right (Fisher 1935, chapter 2): 34 of 70 tables; all right: 2 of 70."""
    assert estimates.fisher_p((3, 4), (1, 4)) == pytest.approx(34 / 70)
    assert estimates.fisher_p((4, 4), (0, 4)) == pytest.approx(2 / 70)


def test_the_sign_flip_test_finds_fishers_count_on_darwins_maize():
    """863 of the 32,768 sums are as large as the 314 that was seen, and 863 as small."""
    sums = np.zeros(1, dtype=int)
    for value in MAIZE:
        sums = np.concatenate([sums + value, sums - value])
    assert (sum(MAIZE), np.count_nonzero(sums >= 314), len(sums)) == (314, 863, 32_768)
    assert estimates.sign_flip_p(MAIZE) == pytest.approx(2 * 863 / 32_768)


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        # The manual of the R package HDLSSkST, `Holm`; 0.01 is just 0.05 / 5, and not below it.
        ([0.50, 0.01, 0.001, 0.69, 0.02, 0.05, 0.0025], [0, 0, 1, 0, 0, 0, 1]),
        # The example of the encyclopaedia's article on the Holm-Bonferroni method.
        ([0.01, 0.04, 0.03, 0.005], [1, 0, 0, 1]),
    ],
)
def test_holm_rejects_what_published_examples_reject(p_values, rejected):
    """Without correction more are rejected."""
    assert [int(p < 0.05) for p in estimates.holm(p_values)] == rejected


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0, 9.0], [-0.3, 0.1, 0.2, 0.5, 1.4]])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_bootstrap_interval_is_that_of_all_resamples(values, confidence):
    """All n^n resamples, enumerated; the drawn ends lie within four standard errors of a share."""
    resamples = np.array(list(itertools.product(values, repeat=len(values)))).mean(axis=1)
    settings = StatisticsSettings(confidence=confidence, bootstrap_resamples=9999)
    found = estimates.paired_difference(values, settings)
    tail = (1 - confidence) / 2
    slack = 4 * math.sqrt(tail * (1 - tail) / 9999)
    for end, share in ((found.interval.low, tail), (found.interval.high, 1 - tail)):
        low, high = np.quantile(resamples, [share - slack, share + slack])
        assert low - 1e-9 <= end <= high + 1e-9


def test_wilson_is_the_score_test_turned_round():
    """At either end the score test of that rate has p = 0.05."""
    bounds = estimates.wilson_interval(3, 8, 0.95)
    for rate in (bounds.low, bounds.high):
        z = (3 / 8 - rate) / math.sqrt(rate * (1 - rate) / 8)
        assert 2 * stats.norm.sf(abs(z)) == pytest.approx(0.05)
