"""A verdict says what its seeds support: two never carry a claim, eight carry a clear one."""

import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.read import parse_study
from ptycho_torch.report.summarise.collect import StageFiles
from ptycho_torch.report.summarise.stage import work_out
from ptycho_torch.report.wording import because, conclusion
from ptycho_torch.runtime.markdown import number, p_text, percent

SETTINGS = StatisticsSettings()


@pytest.fixture(scope="module")
def findings_of(plant):
    def work(**plan):
        given = plant(**plan)
        study, stage, provenance = (given.pop(key) for key in ("study", "stage", "provenance"))
        return work_out(StageFiles(**given), parse_study(study, "test"), stage, provenance)

    return work


@pytest.fixture(scope="module")
def two(findings_of):
    return findings_of(seeds=[0, 1])


@pytest.fixture(scope="module")
def eight(findings_of):
    """`agc` 2.5 % over the control; of the control and of it nothing failed, of norm1 all."""
    outcomes = {("norm1", seed): "collapsed" for seed in range(8)}
    return findings_of(seeds=list(range(8)), outcomes=outcomes)


def _verdicts(findings, arm):
    return {v.condition: v for v in findings.verdicts[arm]}


def _comparison(findings, arm, score):
    return next(c for c in findings.comparisons if (c.arm, c.score) == (arm, score))


def test_two_seeds_support_no_difference_however_large(two):
    for comparison in two.comparisons:
        assert comparison.state == "undecided"
        assert comparison.n == 2
        assert "2 pairs cannot reach p <= 0.05 (the least is 0.50)" in conclusion(
            comparison, SETTINGS
        )
        assert "6 pairs are the minimum" in conclusion(comparison, SETTINGS)
    assert {v.status for v in _verdicts(two, "agc").values()} == {"undecided"}
    assert _verdicts(two, "stable")["lowest_loss"].status == "undecided"


def test_no_failure_in_two_runs_is_told_with_its_bound_and_claims_no_more(two):
    verdict = _verdicts(two, "stable")["no_failures"]
    assert verdict.status == "met in these runs"
    assert "no failure seen in 2 runs; the 95 % Wilson upper bound is 66 %" in because(
        verdict, SETTINGS
    )
    assert "undecided" in because(verdict, SETTINGS)


def test_fewer_failures_is_undecided_where_the_control_does_not_fail(two):
    verdict = _verdicts(two, "agc")["fewer_failures_than_control"]
    assert verdict.status == "undecided"
    assert "0 of 2 runs failed against 0 of 2" in because(verdict, SETTINGS)
    control = _verdicts(two, "control")["negative_control"]
    assert control.status == "undecided"
    assert "0 of 2 runs" in because(control, SETTINGS)
    assert _verdicts(two, "norm1")["comparison"].status == "not asked"


def test_eight_seeds_support_a_clear_difference_in_the_right_direction(eight):
    lower = _comparison(eight, "stable", "best_val_loss")
    assert (lower.n, lower.state, lower.better) == (8, "lower", True)
    assert lower.interval.low <= lower.estimate <= lower.interval.high < 0
    assert lower.p == pytest.approx(2 / 2**8)
    # Holm over three arms, of which norm1 has no pair and still counts.
    assert lower.p_holm == pytest.approx(3 * 2 / 2**8)
    higher = _comparison(eight, "stable", "best_amplitude_ssim")
    assert (higher.state, higher.better) == ("higher", True)
    assert _comparison(eight, "agc", "best_val_loss").better is False


def test_an_arm_without_successful_runs_has_no_pairs_and_no_claim(eight):
    comparison = _comparison(eight, "norm1", "best_val_loss")
    assert (comparison.n, comparison.p, comparison.state) == (0, None, "undecided")
    assert "no seed at which both runs succeeded" in conclusion(comparison, SETTINGS)


def test_lowest_loss_needs_every_other_arm_to_be_beaten_beyond_chance(eight, findings_of):
    # norm1 never succeeded, so nothing can be said against it.
    assert _verdicts(eight, "stable")["lowest_loss"].status == "undecided"
    clear = findings_of(seeds=list(range(8)))
    assert _verdicts(clear, "stable")["lowest_loss"].status == "met"
    worse = findings_of(
        seeds=list(range(8)), loss={"control": 0.08, "stable": 0.09, "agc": 0.07, "norm1": 0.1}
    )
    verdict = _verdicts(worse, "stable")["lowest_loss"]
    assert verdict.status == "not met"
    assert "control and agc reached a lower loss" in because(verdict, SETTINGS)


def test_the_bound_on_the_loss_is_judged_by_the_interval_of_the_paired_ratio(eight, findings_of):
    within = _verdicts(eight, "agc")["max_loss_increase"]
    assert within.status == "met"
    assert "the bound is 1.1" in because(within, SETTINGS)
    beyond = findings_of(seeds=list(range(8)), loss={**_LOSS, "agc": 0.08 * 1.2})
    assert _verdicts(beyond, "agc")["max_loss_increase"].status == "not met"
    at_bound = findings_of(seeds=list(range(8)), loss={**_LOSS, "agc": 0.08 * 1.1})
    verdict = _verdicts(at_bound, "agc")["max_loss_increase"]
    assert verdict.status == "undecided"
    assert "includes the bound" in because(verdict, SETTINGS)


_LOSS = {"control": 0.08, "stable": 0.06, "agc": 0.082, "norm1": 0.1}


def test_failure_rates_are_told_apart_only_by_a_corrected_exact_test(eight, findings_of):
    worse = next(c for c in eight.failure_tests if c.arm == "norm1")
    assert (worse.state, worse.better) == ("higher", False)
    control_fails = {("control", seed): "exploded" for seed in range(8)}
    findings = findings_of(seeds=list(range(8)), outcomes=control_fails)
    assert _verdicts(findings, "agc")["fewer_failures_than_control"].status == "met"
    assert _verdicts(findings, "control")["negative_control"].status == "met in these runs"
    assert _verdicts(findings, "stable")["lowest_failure_rate"].status == "undecided"


def test_holm_holds_back_what_one_comparison_alone_would_claim(findings_of):
    """Six pairs reach p = 0.031 alone, three arms make it 0.094."""
    findings = findings_of(seeds=list(range(6)))
    comparison = _comparison(findings, "stable", "best_val_loss")
    assert comparison.p == pytest.approx(2 / 2**6)
    assert comparison.state == "undecided"
    assert "0.094 after Holm's correction for 3 comparisons" in conclusion(comparison, SETTINGS)


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


def test_a_few_failures_more_or_less_are_no_claim(findings_of):
    """2 of 3 against 0 of 3: Fisher's p is 0.4."""
    findings = findings_of(
        seeds=[0, 1, 2], outcomes={("control", 0): "twin", ("control", 2): "exploded"}
    )
    for comparison in findings.failure_tests:
        assert comparison.p == pytest.approx(0.4)
        assert comparison.state == "undecided"
        assert "0 of 3 runs failed against 2 of 3" in conclusion(comparison, SETTINGS)
    assert _verdicts(findings, "agc")["fewer_failures_than_control"].status == "undecided"
