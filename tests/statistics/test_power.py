"""Numbers of seeds against published sample sizes, exact powers and the study's own rule."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics import estimates, power

SETTINGS = StatisticsSettings()


def _many(**changes):
    return StatisticsSettings(power_simulations=6_000, **changes)


def _seen(effect):
    """Three differences whose mean is `effect` standard deviations."""
    return np.array([-1.0, 0.0, 1.0]) + effect


def _pairs(effect, *, family=1, settings=SETTINGS):
    return power.seeds_for_difference(_seen(effect), family=family, settings=settings).seeds


def _rates(failed, control, *, family=1, settings=SETTINGS):
    return power.seeds_for_rates(failed, control, family=family, settings=settings)


@pytest.mark.parametrize(
    ("effect", "target", "published"),
    [
        (0.5, 0.8, 34),  # G*Power, paired t test, two-sided 5 %
        (0.8, 0.8, 15),  # the same
        (1.0, 0.8, 10),  # the same
        (10 / 200**0.5, 0.85, 20),  # Dalgaard, Introductory Statistics with R, section 8.3
    ],
)
def test_pairs_agree_with_published_sample_sizes_of_the_paired_t_test(effect, target, published):
    """A one-sided test, or one that ignores the power asked for, is off by three or more."""
    assert abs(_pairs(effect, settings=_many(power=target)) - published) <= 1
    assert abs(_pairs(effect, settings=StatisticsSettings(power=target)) - published) <= 2


@pytest.mark.parametrize("family", [1, 3, 9])
def test_pairs_agree_with_the_noncentral_t_at_holms_hardest_step(family):
    def exact(n):
        critical = stats.t.isf(0.05 / family / 2, n - 1)
        return stats.nct.sf(critical, n - 1, 0.6 * n**0.5)

    expected = next(n for n in range(3, 101) if exact(n) >= 0.8)
    assert abs(_pairs(0.6, family=family, settings=_many()) - expected) <= 1


def test_a_clear_difference_needs_as_many_pairs_as_the_test_can_do_with():
    """However large: 6 pairs alone, 7 among three, as 2 / 2^n asks."""
    assert _pairs(50) == estimates.pairs_needed(0.95) == 6
    assert _pairs(50, family=3) == estimates.pairs_needed(0.95, 3) == 7
    # Here the t test stands in, which alone would be content with fewer.
    assert _pairs(50, family=1000) == estimates.pairs_needed(0.95, 1000) == 16


def test_neither_sign_nor_unit_of_the_differences_matters():
    values = _seen(0.9)
    for scale in (-1.0, 1e-200, 1e300):
        found = power.seeds_for_difference(scale * values, family=1, settings=SETTINGS)
        assert found.seeds == _pairs(0.9)


def test_the_answer_is_beyond_the_pairs_that_did_not_decide():
    """10 pairs would do for this effect, but 21 were seen and did not."""
    found = power.seeds_for_difference(
        np.tile(_seen(1.0), 7), family=1, settings=StatisticsSettings(power=0.5)
    )
    assert found.seeds == 22


@pytest.mark.parametrize("pairs", [2, 6, 9])
def test_sign_flips_as_one_matrix_agree_with_the_studys_own_test(pairs):
    studies = np.random.default_rng(3).normal(0.5, 1, size=(40, pairs))
    own = [estimates.sign_flip_p(study, StatisticsSettings()) for study in studies]
    assert power.sign_flip_p_values(studies) == pytest.approx(own)


def test_the_t_test_stands_in_for_the_sign_flip_test_beyond_12_pairs():
    """At 12 pairs half of the p values near the level agree to a tenth, the powers to 1 %."""
    studies = np.random.default_rng(4).normal(0.8, 1, size=(2000, 12))
    flips, t = power.sign_flip_p_values(studies), stats.ttest_1samp(studies, 0, axis=1).pvalue
    near = (t > 0.005) & (t < 0.2)
    assert np.median(np.abs(flips[near] / t[near] - 1)) < 0.1
    for level in (0.05, 0.05 / 3):
        assert np.mean(flips <= level) == pytest.approx(np.mean(t <= level), abs=0.01)


@pytest.mark.parametrize("pairs", [6, 8, 12])
def test_where_the_exact_test_is_significant_the_interval_excludes_0(pairs):
    """So that the power need not draw it: fewer than 1 in 100 intervals disagree."""
    studies = np.random.default_rng(pairs).normal(0.9, 1, size=(300, pairs))
    significant = studies[power.sign_flip_p_values(studies) <= 0.05]
    assert len(significant) > 80
    bounds = [
        estimates.paired_difference(study, StatisticsSettings(resamples=999)).interval
        for study in significant
    ]
    assert np.mean([low.low <= 0 <= low.high for low in bounds]) < 0.01


@pytest.mark.parametrize("runs", [1, 2, 5, 13])
def test_the_table_of_fishers_p_is_scipys(runs):
    expected = [
        [estimates.fisher_p((a, runs), (b, runs)) for b in range(runs + 1)] for a in range(runs + 1)
    ]
    assert power.fisher_p_table(runs) == pytest.approx(np.array(expected))


@cache
def _two_sided(runs):
    """Fisher's p of every table from scipy's hypergeometric law, without our table."""
    a, b, other = np.ogrid[: runs + 1, : runs + 1, : runs + 1]
    chances = stats.hypergeom.pmf(other, 2 * runs, a + b, runs)
    seen = stats.hypergeom.pmf(a, 2 * runs, a + b, runs)
    return np.sum(chances * (chances <= seen * (1 + 1e-7)), axis=2)


def _exact_power(first, second, p_values, family=1):
    """Sum the probability of every table that the test finds significant."""
    k = np.arange(len(p_values))
    chance = np.outer(stats.binom.pmf(k, k[-1], first), stats.binom.pmf(k, k[-1], second))
    return chance[family * p_values <= 0.05].sum()


def _expected_runs(first, second, family=1):
    return next(
        n for n in range(2, 101) if _exact_power(first, second, _two_sided(n), family) >= 0.8
    )


def test_the_exact_power_is_the_published_one():
    """0.211135 of a one-sided test: Matthews, Sample Size Calculations, p. 97 (%fisherspower).

    About 70 % of a two-sided one, from 100 simulations: manual of the R package statmod.
    """
    a, b = np.ogrid[:81, :81]
    one_sided = stats.hypergeom.cdf(a, 160, a + b, 80)
    assert _exact_power(0.01, 0.05, one_sided) == pytest.approx(0.211135, abs=5e-7)
    assert _exact_power(0.5, 0.9, _two_sided(20)) == pytest.approx(0.70, abs=0.045)


@pytest.mark.parametrize("family", [1, 3])
@pytest.mark.parametrize("rates", [(5, 9), (1, 8), (0, 4)])
def test_runs_agree_with_the_exact_power_of_fishers_test(rates, family):
    expected = _expected_runs(rates[0] / 10, rates[1] / 10, family)
    first, second = ((k, 10) for k in rates)
    for one, other in ((first, second), (second, first)):
        found = _rates(one, other, family=family, settings=_many()).seeds
        assert abs(found - max(expected, 11)) <= 1


def test_equal_rates_are_planned_for_a_difference_worth_knowing():
    none = _rates((0, 2), (0, 2))
    assert abs(none.seeds - _expected_runs(0, 0.25)) <= 1
    assert none.assumed_rates == (0, 0.25)
    # 1 cannot be exceeded: the arm fails less often by as much.
    assert _rates((5, 5), (5, 5)).assumed_rates == (0.75, 1)
    assert _rates((1, 2), (3, 6)).assumed_rates == (0.5, 0.75)
    wide = _rates((0, 2), (0, 2), settings=StatisticsSettings(worthwhile_failure_difference=0.5))
    assert wide.seeds < none.seeds


def test_what_has_no_number_says_what_is_missing():
    def missing(*values):
        found = power.seeds_for_difference(values, family=1, settings=SETTINGS)
        assert found.seeds is None
        return found.missing, found.sample

    assert missing() == ("pairs", (0,))
    assert missing(0.3, float("nan")) == ("pairs", (1,))
    assert missing(0.3, 0.3) == ("spread", (2,))
    assert missing(-0.3, 0.3) == ("difference", (2,))
    # Beyond the most that is tried: 100, or as set.
    assert missing(-1, 0, 1.1) == (None, (3,))
    few = StatisticsSettings(most_seeds=5)
    assert power.seeds_for_difference([1, 2], family=1, settings=few).seeds is None
    found = _rates((1, 5), (2, 5), family=3)
    assert (found.seeds, found.sample, found.assumed_rates) == (None, (5, 5), None)
