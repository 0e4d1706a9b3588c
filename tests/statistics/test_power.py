"""Numbers of seeds against published sample sizes, and against simulated studies."""

import numpy as np
import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics.compare import seeds_needed
from ptycho_torch.statistics.estimates import sample_difference

SETTINGS = StatisticsSettings()
UNIT = np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]) * np.sqrt(5 / 6)
"""Six values of mean 0 and standard deviation 1."""


def needed(shift, interest=1.0, level=0.05, settings=SETTINGS, scale=1.0):
    return seeds_needed(
        scale * (UNIT + shift), scale * UNIT, of_interest=scale * interest, level=level,
        settings=settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "power", "published"),
    [(0.8, 0.8, 26), (0.5, 0.8, 64), (0.8, 0.95, 42)],
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
