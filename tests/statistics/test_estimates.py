"""Each statistic against published data, a case worked by hand, or an independent count; numbers of
seeds against published sample sizes, and against simulated studies."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import seeds_needed
from ptycho_torch.statistics.estimates import failure_rate, sample_difference

# Freireich et al. (1963), Blood 21, 699: weeks in remission.
RELAPSED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
STILL_WELL = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
# Darwin (1876), in Fisher (1935), section 21: crossed minus selfed maize, eighths of an inch.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


@pytest.mark.parametrize(
    ("failures", "runs", "low", "high"),
    [
        (81, 263, 0.2527, 0.3676),  # Newcombe (1998), table I, method 5
        (15, 148, 0.0578, 0.1617),  # the same table
        (0, 2, 0.0, 0.84189),  # 1 - 0.025^(1/2)
    ],
)
def test_the_exact_interval_agrees_with_published_examples(failures, runs, low, high):
    """A Wald interval, or Wilson's, fails here."""
    table = pd.DataFrame({"arm": "a", "failed": np.arange(runs) < failures})
    found = failure_rate(table, "a", 0.95).interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("failed", "control"), [((0, 6), (4, 6)), ((1, 5), (6, 7))])
def test_boschloos_p_is_the_largest_chance_of_as_small_a_fisher_p(failed, control):
    """Counted anew over a fine grid of common rates; two-sided as twice the smaller side."""
    tables = [(a, b) for a in range(failed[1] + 1) for b in range(control[1] + 1)]

    def fisher(a, b, side):
        table = [[a, b], [failed[1] - a, control[1] - b]]
        return stats.fisher_exact(table, alternative=side).pvalue

    sides = []
    for side in ("less", "greater"):
        seen = fisher(failed[0], control[0], side) * (1 + 1e-9)
        extreme = np.array([fisher(a, b, side) <= seen for a, b in tables])
        rates = np.linspace(0.001, 0.999, 999)[:, None]
        chances = np.prod(
            [stats.binom.pmf([t[i] for t in tables], n, rates)
             for i, n in enumerate((failed[1], control[1]))], axis=0)  # fmt: skip
        sides.append((chances * extreme).sum(axis=1).max())
    assert estimates.boschloo_p(failed, control) == pytest.approx(min(1, 2 * min(sides)), rel=2e-3)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (5, 7)])
def test_two_samples_are_divided_in_all_ways_and_the_interval_inverts_the_test(n, m):
    stream = np.random.default_rng(n)
    mine, theirs = stream.normal(0.5, 1, n), stream.normal(0, 2, m)
    found = estimates.sample_difference(mine, theirs, StatisticsSettings())
    known = stats.permutation_test(
        (mine, theirs), lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True,
        n_resamples=np.inf,
    )  # fmt: skip
    assert (found.p, found.mean) == pytest.approx((known.pvalue, known.statistic))
    assert found.least_p == pytest.approx(2 / math.comb(n + m, n))
    for end, inwards in ((found.interval.low, 1), (found.interval.high, -1)):
        inside, outside = (
            estimates.sample_difference(mine - end - inwards * step, theirs, StatisticsSettings()).p
            for step in (1e-9, -1e-9)
        )
        assert outside <= 0.05 < inside


def test_few_or_equal_samples_are_handled_and_large_ones_drawn_under_the_seed():
    settings = StatisticsSettings(resamples=999)
    assert estimates.sample_difference([], [1.0], settings) == estimates.Difference(n=0)
    assert estimates.sample_difference([1.0] * 6, [1.0] * 6, settings).p == 1.0
    assert estimates.sample_difference([1.0, 2.0], [8.0, 9.0], settings).interval is None
    stream = np.random.default_rng(0)
    mine, theirs = stream.normal(0.6, 1, 15), stream.normal(0, 1, 15)
    found = estimates.sample_difference(mine, theirs, settings)
    assert found == estimates.sample_difference(mine, theirs, settings)
    more = estimates.sample_difference(mine, theirs, StatisticsSettings(resamples=9999))
    assert found.p == pytest.approx(more.p, abs=0.03) and found.least_p == 2 / 1000


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
    """Without correction more are rejected; a missing test still counts."""
    assert [int(p < 0.05) for p in estimates.holm(p_values)] == rejected
    assert estimates.holm([None, 0.01]) == [1.0, pytest.approx(0.02)]


def test_the_sign_flip_test_finds_fishers_count_on_darwins_maize():
    """863 of the 32,768 sums are as large as the 314 that was seen, and 863 as small."""
    sums = np.array([0])
    for value in MAIZE:
        sums = np.concatenate([sums + value, sums - value])
    assert (sum(MAIZE), np.count_nonzero(sums >= 314), len(sums)) == (314, 863, 32_768)
    assert estimates.paired_difference(MAIZE, StatisticsSettings()).p == pytest.approx(
        2 * 863 / 32_768
    )


@pytest.mark.parametrize(("pairs", "confidence"), [(6, 0.95), (9, 0.95), (9, 0.8)])
def test_the_interval_has_the_means_that_the_test_does_not_reject(pairs, confidence):
    stream = np.random.default_rng(pairs)
    settings = StatisticsSettings(confidence=confidence)
    for _ in range(5):
        values = stream.normal(0.5, 1, pairs)
        found = estimates.paired_difference(values, settings).interval
        for end, inwards in ((found.low, 1), (found.high, -1)):
            inside, outside = (
                estimates.paired_difference(values - (end + inwards * step), settings).p
                for step in (1e-9, -1e-9)
            )
            assert outside <= 1 - confidence + 1e-12 < inside


def test_beyond_15_pairs_the_patterns_are_always_the_same_and_five_have_no_interval():
    values, settings = np.random.default_rng(0).normal(1, 1, 20), StatisticsSettings(resamples=999)
    found = estimates.paired_difference(values, settings)
    assert found == estimates.paired_difference(values, settings)
    five = estimates.paired_difference(values[:5], settings)
    assert (five.interval, five.least_p) == (None, 2 / 2**5)


def test_kaplan_meier_gives_the_published_curve_of_the_leukaemia_trial():
    """6-MP group: Kalbfleisch and Prentice (1980), and every survival textbook since."""
    steps = estimates.kaplan_meier(RELAPSED, STILL_WELL, 0.95).set_index("epoch")
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert steps["survival"][[*published]].to_dict() == pytest.approx(published, abs=6e-4)
    assert steps.loc[6, ["low", "high"]].tolist() == pytest.approx([0.620, 0.952], abs=6e-4)


def test_kaplan_meier_counts_failures_before_censored_runs_of_the_same_epoch():
    """S(3) = 5/6, S(5) = 5/6 x 4/5; the run censored at 7 leaves 3 at risk at 10: S = 2/3 x 2/3."""
    steps = estimates.kaplan_meier([3, 5, 10], [10, 10, 7], 0.95)
    assert steps["epoch"].tolist() == [0, 3, 5, 7, 10]
    assert steps["survival"].tolist() == pytest.approx([1, 5 / 6, 2 / 3, 2 / 3, 4 / 9])
    # No interval where none is defined: before the first failure, and with no run left.
    assert estimates.kaplan_meier([], [4, 4], 0.95)[["low", "high"]].isna().all(axis=None)
    gone = estimates.kaplan_meier([2, 2], [], 0.95).iloc[-1]
    assert gone["survival"] == 0 and gone[["low", "high"]].isna().all()


SETTINGS = StatisticsSettings()
UNIT = np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]) * np.sqrt(5 / 6)
"""Six values of mean 0 and standard deviation 1."""


def needed(shift, interest=1.0, level=0.05, settings=SETTINGS, scale=1.0):
    return seeds_needed(
        scale * (UNIT + shift), scale * UNIT, of_interest=scale * interest, level=level,
        settings=settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "power", "published"), [(0.8, 0.8, 26), (0.5, 0.8, 64), (0.8, 0.95, 42)]
)
def test_seeds_for_an_effect_are_cohens(effect, power, published):
    """Cohen (1988), table 2.4.1, two-sided 5 %; one-sided ones are 21, 51, 14, 35."""
    found = needed(0.3, effect, settings=StatisticsSettings(power=power))
    assert found.of_interest == published


def test_so_many_seeds_find_the_effect_with_the_power_that_is_asked_for():
    """By the study's own permutation test, at the level of one of two comparisons."""
    effect, level = 2.2, 0.01
    seeds = needed(0.3, effect, level).of_interest
    stream = np.random.default_rng(0)
    hits = [
        sample_difference(
            stream.normal(effect, 1, seeds), stream.normal(0, 1, seeds), SETTINGS
        ).p <= level
        for _ in range(400)
    ]  # fmt: skip
    assert 0.74 < np.mean(hits) < 0.9


def test_nothing_is_forecast_from_fewer_than_six_runs_or_without_spread():
    assert seeds_needed(UNIT[1:], UNIT, of_interest=1, level=0.05, settings=SETTINGS) is None
    same = np.ones(6)
    assert seeds_needed(same, same, of_interest=1, level=0.05, settings=SETTINGS) is None


def test_the_range_is_of_the_quartiles_of_the_difference():
    """d = 1 from six runs each has a standard error of 0.577: half lie between 0.61 and 1.39."""
    found, ends = needed(1.0), [needed(0.0, d).of_interest for d in (1.389, 0.611)]
    assert [found.low, found.high] == ends and needed(1.0, scale=7.0) == needed(-1.0) == found
