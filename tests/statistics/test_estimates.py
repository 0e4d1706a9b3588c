"""Each statistic against a published example, a case worked by hand, or an independent count."""

import itertools
import math

import numpy as np
import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics import estimates


@pytest.mark.parametrize(
    ("failures", "runs", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), table I, method 3
        (15, 148, 0.0624, 0.1605),  # the same table
        (0, 10, 0.0, 0.27753),  # z^2 / (n + z^2)
    ],
)
def test_wilson_interval_agrees_with_published_examples(failures, runs, low, high):
    """A Wald interval, or Wilson's with a continuity correction, fails here."""
    found = estimates.wilson_interval(failures, runs, 0.95)
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


def test_wilson_interval_refuses_impossible_counts():
    with pytest.raises(ValueError, match="got 3 of 2"):
        estimates.wilson_interval(3, 2, 0.95)
    with pytest.raises(ValueError, match="got 0 of 0"):
        estimates.wilson_interval(0, 0, 0.95)


def test_spread_takes_only_finite_values_and_says_how_many():
    found = estimates.spread([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")])
    assert (found.n, found.median, found.low, found.high) == (5, 3.0, 2.0, 4.0)
    assert estimates.spread([float("nan")]).median is None


def test_fisher_agrees_with_counting_tables():
    """3 of 3 against 0 of 3: the two extreme tables of C(6, 3) = 20."""
    assert estimates.fisher_p((3, 3), (0, 3)) == pytest.approx(2 / 20)
    assert estimates.fisher_p((1, 3), (0, 3)) == pytest.approx(1.0)
    assert estimates.least_fisher_p(5, 5) == pytest.approx(2 / 252)


def test_holm_steps_down_and_counts_missing_tests():
    """Worked by hand: 0.01 x 3, then max(0.03, 0.02 x 2), then max(0.04, 0.04 x 1)."""
    assert estimates.holm([0.02, 0.04, 0.01]) == pytest.approx([0.04, 0.04, 0.03])
    assert estimates.holm([0.9, 0.8]) == [1.0, 1.0]
    assert estimates.holm([None, 0.01]) == [None, pytest.approx(0.02)]


def test_holm_refuses_what_is_no_probability():
    """NaN has no place in an order: it would be put anywhere, and others with it."""
    for wrong in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="from 0 to 1"):
            estimates.holm([0.01, wrong, None])


@pytest.mark.parametrize("pairs", [1, 2, 3, 5, 6, 8])
def test_the_least_sign_flip_p_is_two_patterns_of_all(pairs):
    """A one-sided test, or one that adds 1 to numerator and denominator, fails here."""
    values = 1 + 0.1 * np.arange(pairs)
    assert estimates.sign_flip_p(values) == pytest.approx(2 / 2**pairs)
    assert estimates.least_sign_flip_p(pairs) == pytest.approx(2 / 2**pairs)


def test_sign_flip_p_agrees_with_an_own_enumeration():
    values = np.array([0.3, -0.1, 0.25, 0.4, -0.05, 0.2])
    flips = np.array(list(itertools.product([-1, 1], repeat=len(values))))
    means = (flips * values).mean(axis=1)
    expected = (np.abs(means) >= abs(values.mean()) - 1e-12).mean()
    assert estimates.sign_flip_p(values) == pytest.approx(expected)


@pytest.mark.parametrize(("comparisons", "pairs"), [(1, 6), (3, 7)])
def test_pairs_needed_is_the_least_number_that_can_reach_the_level(comparisons, pairs):
    assert estimates.pairs_needed(0.95, comparisons) == pairs
    assert comparisons * 2 / 2**pairs <= 0.05 < comparisons * 2 / 2 ** (pairs - 1)


def _difference(values):
    return estimates.paired_difference(values, StatisticsSettings(bootstrap_resamples=999))


def test_bootstrap_interval_of_many_pairs_is_that_of_the_normal_law():
    values = np.random.default_rng(1).normal(0.5, 1.0, size=400)
    found = _difference(values)
    half = 1.96 * values.std() / 20
    assert found.interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.interval.high == pytest.approx(values.mean() + half, abs=0.02)
    assert _difference(values) == found


def test_few_or_equal_pairs_are_handled_and_not_invented():
    assert _difference([]) == estimates.Difference(n=0)
    one = _difference([0.2])
    assert (one.n, one.mean, one.interval, one.p) == (1, 0.2, None, 1.0)
    same = _difference([0.2, 0.2, 0.2])
    assert (same.interval.low, same.interval.high) == (0.2, 0.2)
    assert _difference([0.0, 0.0]).p == 1.0


def test_kaplan_meier_agrees_with_a_case_worked_by_hand():
    """Failures at 3, 5, 10; one run ends well at 7, two at 10.

    S(3) = 5/6, S(5) = 5/6 x 4/5; the run censored at 7 leaves 3 at risk at 10, where a failure
    counts before those who are censored in the same epoch: S(10) = 2/3 x 2/3.
    """
    steps = estimates.kaplan_meier([3, 5, 10], [10, 10, 7], 0.95)
    assert [step.epoch for step in steps] == [0, 3, 5, 7, 10]
    assert [step.at_risk for step in steps] == [6, 6, 5, 4, 3]
    assert [step.failures for step in steps] == [0, 1, 1, 0, 1]
    assert [step.survival for step in steps] == pytest.approx([1, 5 / 6, 2 / 3, 2 / 3, 4 / 9])
    assert 0 < steps[1].interval.low < 5 / 6 < steps[1].interval.high < 1


def test_kaplan_meier_has_no_interval_where_none_is_defined():
    assert [s.interval for s in estimates.kaplan_meier([], [4, 4], 0.95)] == [None, None]
    gone = estimates.kaplan_meier([2, 2], [], 0.95)[-1]
    assert (gone.survival, gone.interval) == (0.0, None)
    with pytest.raises(ValueError, match="at least one run"):
        estimates.kaplan_meier([], [], 0.95)


def test_the_bootstrap_obeys_its_seed_its_resamples_and_its_confidence():
    differences = np.random.default_rng(0).normal(1, 1, 8)

    def interval(**changes):
        settings = StatisticsSettings(**{"bootstrap_resamples": 999, **changes})
        found = estimates.paired_difference(differences, settings)
        return found.interval.low, found.interval.high

    assert interval() == interval()
    assert interval(bootstrap_seed=1) != interval()
    assert interval(bootstrap_resamples=500) != interval()
    low, high = interval()
    narrow_low, narrow_high = interval(confidence=0.5)
    assert low < narrow_low < narrow_high < high
