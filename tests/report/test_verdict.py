"""A verdict says what its seeds support: two never carry a claim, eight carry a clear one."""

import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.report.rendering import say
from ptycho_torch.runtime.markdown import number, p_text, percent
from ptycho_torch.statistics.compare import paired_values
from ptycho_torch.statistics.power import seeds_for_difference, seeds_for_rates

SETTINGS = StatisticsSettings()
EIGHT = list(range(8))
LOSS = {"control": 0.08, "stable": 0.06, "agc": 0.082, "norm1": 0.1}


@pytest.fixture(scope="module")
def two(findings_of):
    return findings_of(seeds=[0, 1])


@pytest.fixture(scope="module")
def eight(findings_of):
    """`agc` 2.5 % over the control; of the control and of it nothing failed, of norm1 all."""
    return findings_of(seeds=EIGHT, outcomes={("norm1", seed): "collapsed" for seed in EIGHT})


def verdicts(findings, arm):
    return {v.condition: v for v in findings.verdicts[arm]}


def comparison(findings, arm, score):
    return next(c for c in findings.comparisons if (c.arm, c.score) == (arm, score))


def test_two_seeds_support_no_difference_however_large(two):
    for item in two.comparisons:
        assert (item.state, item.n) == ("undecided", 2)
        assert say("conclusion", item, SETTINGS) == (
            "undecided: 2 pairs cannot reach p <= 0.05 (the least is 0.50); 6 pairs are the minimum"
        )
    assert {v.status for v in verdicts(two, "agc").values()} == {"undecided"}
    assert verdicts(two, "stable")["lowest_loss"].status == "undecided"


def test_no_failure_in_two_runs_claims_no_more_than_its_bound(two):
    verdict = verdicts(two, "stable")["no_failures"]
    assert verdict.status == "met in these runs"
    assert "the 95 % Wilson upper bound is 66 %" in say("verdict", verdict, SETTINGS)
    fewer = verdicts(two, "agc")["fewer_failures_than_control"]
    assert fewer.status == "undecided"
    assert "0 of 2 runs failed against 0 of 2" in say("verdict", fewer, SETTINGS)
    assert verdicts(two, "control")["negative_control"].status == "undecided"
    assert verdicts(two, "norm1")["comparison"].status == "not asked"


def test_eight_seeds_support_a_clear_difference_in_the_right_direction(eight):
    lower = comparison(eight, "stable", "best_val_loss")
    assert (lower.n, lower.state, lower.better) == (8, "lower", True)
    assert lower.interval.low <= lower.estimate <= lower.interval.high < 0
    assert lower.p == pytest.approx(2 / 2**8)
    # Holm over three arms, of which norm1 has no pair and still counts.
    assert lower.p_holm == pytest.approx(3 * 2 / 2**8)
    higher = comparison(eight, "stable", "best_amplitude_ssim")
    assert (higher.state, higher.better) == ("higher", True)
    assert comparison(eight, "agc", "best_val_loss").better is False
    lost = comparison(eight, "norm1", "best_val_loss")
    assert (lost.n, lost.p, lost.state, lost.reason) == (0, None, "undecided", "no_pairs")


def test_lowest_loss_needs_every_other_arm_to_be_beaten_beyond_chance(eight, findings_of):
    # norm1 never succeeded, so nothing can be said against it.
    assert verdicts(eight, "stable")["lowest_loss"].status == "undecided"
    assert verdicts(findings_of(seeds=EIGHT), "stable")["lowest_loss"].status == "met"
    worse = findings_of(seeds=EIGHT, loss={**LOSS, "stable": 0.09, "agc": 0.07})
    verdict = verdicts(worse, "stable")["lowest_loss"]
    assert verdict.status == "not met"
    assert "control and agc reached a lower loss" in say("verdict", verdict, SETTINGS)


@pytest.mark.parametrize(
    ("ratio", "status"), [(1.025, "met"), (1.2, "not met"), (1.1, "undecided")]
)
def test_the_bound_on_the_loss_is_judged_by_the_interval_of_the_paired_ratio(
    findings_of, ratio, status
):
    found = findings_of(seeds=EIGHT, loss={**LOSS, "agc": 0.08 * ratio})
    verdict = verdicts(found, "agc")["max_loss_increase"]
    assert verdict.status == status
    said = say("verdict", verdict, SETTINGS)
    assert "the bound is 1.1" in said
    assert ("includes the bound" in said) is (status == "undecided")


def test_failure_rates_are_told_apart_only_by_a_corrected_exact_test(eight, findings_of):
    worse = next(c for c in eight.failure_tests if c.arm == "norm1")
    assert (worse.state, worse.better) == ("higher", False)
    found = findings_of(seeds=EIGHT, outcomes={("control", seed): "exploded" for seed in EIGHT})
    assert verdicts(found, "agc")["fewer_failures_than_control"].status == "met"
    assert verdicts(found, "control")["negative_control"].status == "met in these runs"
    assert verdicts(found, "stable")["lowest_failure_rate"].status == "undecided"
    few = findings_of(seeds=[0, 1, 2], outcomes={("control", 0): "twin", ("control", 2): "twin"})
    for item in few.failure_tests:  # 2 of 3 against 0 of 3
        assert (item.p, item.state) == (pytest.approx(0.4), "undecided")


def test_holm_holds_back_what_one_comparison_alone_would_claim(findings_of):
    """Six pairs reach p = 0.031 alone, three arms make it 0.094."""
    item = comparison(findings_of(seeds=list(range(6))), "stable", "best_val_loss")
    assert item.p == pytest.approx(2 / 2**6)
    assert item.state == "undecided"
    assert "0.094 after Holm's correction for 3 comparisons" in say("conclusion", item, SETTINGS)


def test_undecided_comparisons_say_how_many_seeds_would_decide_them(findings_of, eight):
    """In the whole family of Holm's correction; a decided one has no number."""
    outcomes = {("control", seed): "exploded" for seed in (0, 1)}
    outcomes |= {("norm1", seed): "collapsed" for seed in range(4)}
    found = findings_of(seeds=[0, 1, 2, 3], outcomes=outcomes)
    stable = comparison(found, "stable", "best_val_loss")
    mine, theirs = paired_values(found.runs, "stable", "control", stable.score)
    assert stable.seeds == seeds_for_difference(mine - theirs, family=3, settings=SETTINGS)
    assert say("seeds_sentence", stable, SETTINGS).startswith(f"{stable.seeds.seeds} seeds would")
    rates = next(c for c in found.failure_tests if c.arm == "stable")
    assert rates.seeds == seeds_for_rates((0, 4), (2, 4), family=3, settings=SETTINGS)
    lost = comparison(found, "norm1", "best_val_loss")
    assert say("seeds_short", lost, SETTINGS) == "no number: a spread needs 2 pairs, there are 0"
    decided = comparison(eight, "stable", "best_val_loss")
    assert (decided.seeds, say("seeds_short", decided, SETTINGS)) == (None, "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (0.9996, "1.00"),
        (17202402, "1.72e+07"),
        (12345.0, "12,345"),
        (0, "0"),
        (None, "not defined"),
        (float("nan"), "not defined"),
        (99.97, "100"),
    ],
)
def test_numbers_have_sensible_digits_and_are_never_blank(value, text):
    assert number(value) == text


def test_percent_and_p_do_not_round_to_certainty():
    assert (percent(0.0), percent(0.004), percent(0.996)) == ("0 %", "0.40 %", "99.6 %")
    assert (p_text(0.0004), p_text(None)) == ("p < 0.001", "p not defined")
