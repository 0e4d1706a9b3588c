"""A verdict says what its seeds support: two never carry a claim, eight carry a clear one."""

import pytest
from planted_runs import LOSS

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.report.rendering import say
from ptycho_torch.runtime.markdown import number, p_text, percent
from ptycho_torch.statistics.compare import paired_values
from ptycho_torch.statistics.power import seeds_for_difference, seeds_for_rates

SETTINGS = StatisticsSettings()
EIGHT, DEEP = list(range(8)), "-fno_blocks-8"
TWO_SEEDS = {"seeds": [0, 1]}
CLEAR = {"seeds": EIGHT}
LOST = {"seeds": EIGHT, "outcomes": {("norm1", seed): "collapsed" for seed in EIGHT}}
FAILING = {"seeds": EIGHT, "outcomes": {("control", seed): "exploded" for seed in EIGHT}}
STAGE_B = {"seeds": EIGHT, "stage": "stage_b"}
STOPPED = {**STAGE_B, "outcomes": {("stable" + DEEP, 0): "exploded"}}


def with_loss(**loss):
    return {"seeds": EIGHT, "loss": {**LOSS, **loss}}


def comparison(values, arm, score):
    items = values["comparisons"] + values["failure_tests"]
    return next(item for item in items if (item.arm, item.score) == (arm, score))


@pytest.mark.parametrize(
    ("plan", "arm", "condition", "status", "words"),
    [
        (TWO_SEEDS, "stable", "lowest_loss", "undecided", "from control, agc and norm1 (2 pairs"),
        (TWO_SEEDS, "stable", "no_failures", "met in these runs", "0 % to 84 %), so whether it"),
        (TWO_SEEDS, "agc", "fewer_failures_than_control", "undecided", "0 of 2: no failure to"),
        (TWO_SEEDS, "agc", "max_loss_increase", "undecided", "2 pairs cannot reach p <= 0.05"),
        (TWO_SEEDS, "control", "negative_control", "undecided", "no arm can be shown to fail"),
        (TWO_SEEDS, "norm1", "comparison", "not asked", "no condition is set"),
        (CLEAR, "stable", "lowest_loss", "met", "better than control, agc and norm1, beyond"),
        # norm1 never succeeded, so nothing can be said against it.
        (LOST, "stable", "lowest_loss", "undecided", "not told apart from norm1 (no seed at"),
        (with_loss(stable=0.09, agc=0.07), "stable", "lowest_loss", "not met",
         "control and agc did better, beyond chance"),
        (with_loss(agc=0.08 * 1.025), "agc", "max_loss_increase", "met", "the bound is 1.1"),
        (with_loss(agc=0.08 * 1.2), "agc", "max_loss_increase", "not met", "the bound is 1.1"),
        (with_loss(agc=0.08 * 1.1), "agc", "max_loss_increase", "undecided", "includes the bound"),
        (FAILING, "agc", "fewer_failures_than_control", "met", "0 of 8 runs failed against 8 of 8"),
        (FAILING, "control", "negative_control", "met in these runs", "8 of 8 runs failed"),
        (FAILING, "stable", "lowest_failure_rate", "undecided", "not told apart from agc and"),
        # The deep winner has the loss of the shallow one and a gradient under the bound of 40.
        ({**STAGE_B, "gradient": {"stable" + DEEP: 30.0}}, "stable" + DEEP, "gradient_bounded",
         "met in these runs", "the bound is 40.0, 10 times the largest of a run of stable"),
        ({**STAGE_B, "gradient": {"stable" + DEEP: 50.0}}, "stable" + DEEP, "gradient_bounded",
         "not met", "80 epochs of 8 runs beyond it"),
        (STAGE_B, "stable" + DEEP, "loss_matches", "met", "the loss is 1.00 times that of stable"),
        (STAGE_B, "stable" + DEEP, "ssim_matches", "met", "the bound is -0.02"),
        ({**with_loss(**{"stable" + DEEP: 0.08}), "stage": "stage_b"}, "stable" + DEEP,
         "loss_matches", "not met", "the loss is 1.33 times that of stable"),
        (STOPPED, "stable" + DEEP, "no_failures", "not met", "1 of 8 runs failed"),
        (STOPPED, "stable" + DEEP, "gradient_bounded", "not met", "1 run ended in NaN or explo"),
    ],
)  # fmt: skip
def test_a_verdict_and_its_reason(values_of, plan, arm, condition, status, words):
    found = {(v.arm, v.condition): v for v in values_of(**plan)["verdicts"]}[arm, condition]
    assert found.status == status
    assert words in say("verdict", found, SETTINGS)


def test_two_seeds_support_no_difference_however_large(values_of):
    for item in values_of(**TWO_SEEDS)["comparisons"]:
        assert (item.state, item.n) == ("undecided", 2)
        assert say("conclusion", item, SETTINGS) == (
            "undecided: 2 pairs cannot reach p <= 0.05 (the least is 0.50); 6 pairs are the minimum"
        )


def test_eight_seeds_support_a_clear_difference_in_the_right_direction(values_of):
    values = values_of(**LOST)
    lower = comparison(values, "stable", "best_val_loss")
    assert (lower.n, lower.state, lower.better) == (8, "lower", True)
    assert lower.interval.low <= lower.estimate <= lower.interval.high < 0
    # Holm over three arms, of which norm1 has no pair and still counts.
    assert (lower.p, lower.p_holm) == pytest.approx((2 / 2**8, 3 * 2 / 2**8))
    assert say("why", lower, SETTINGS).endswith("excludes 0 and p = 0.023, 8 pairs")
    open_one = comparison(values_of(**with_loss(agc=0.08)), "agc", "best_val_loss")
    assert say("why", open_one, SETTINGS).endswith("includes 0, 8 pairs")
    higher = comparison(values, "stable", "best_amplitude_ssim")
    assert (higher.state, higher.better) == ("higher", True)
    assert comparison(values, "agc", "best_val_loss").better is False
    lost = comparison(values, "norm1", "best_val_loss")
    assert (lost.n, lost.p, lost.state, lost.reason) == (0, None, "undecided", "no_pairs")
    worse = comparison(values, "norm1", "failure_rate")
    assert (worse.state, worse.better) == ("higher", False)


def test_corrections_hold_back_what_one_comparison_alone_would_claim(values_of):
    """Six pairs reach p = 0.031 alone, three arms make it 0.094; 2 of 3 against 0 of 3 is open."""
    item = comparison(values_of(seeds=list(range(6))), "stable", "best_val_loss")
    assert (item.p, item.state) == (pytest.approx(2 / 2**6), "undecided")
    assert "0.094 after Holm's correction for 3 comparisons" in say("conclusion", item, SETTINGS)
    few = values_of(seeds=[0, 1, 2], outcomes={("control", 0): "twin", ("control", 2): "twin"})
    for item in few["failure_tests"]:
        assert (item.p, item.state) == (pytest.approx(0.4), "undecided")


def test_undecided_comparisons_say_how_many_seeds_would_decide_them(values_of):
    """In the whole family of Holm's correction; a decided one has no number."""
    outcomes = {("control", seed): "exploded" for seed in (0, 1)}
    outcomes |= {("norm1", seed): "collapsed" for seed in range(4)}
    values = values_of(seeds=[0, 1, 2, 3], outcomes=outcomes)
    stable = comparison(values, "stable", "best_val_loss")
    mine, theirs = paired_values(values["f"].runs, "stable", "control", stable.score)
    assert stable.seeds == seeds_for_difference(mine - theirs, family=3, settings=SETTINGS)
    assert say("seeds", stable, SETTINGS).startswith(f"{stable.seeds.seeds} for 80 % power")
    rates = comparison(values, "stable", "failure_rate")
    assert rates.seeds == seeds_for_rates((0, 4), (2, 4), family=3, settings=SETTINGS)
    lost = comparison(values, "norm1", "best_val_loss")
    assert say("seeds", lost, SETTINGS) == "no number: a spread needs 2 pairs, there are 0"
    decided = comparison(values_of(**LOST), "stable", "best_val_loss")
    assert (decided.seeds, say("seeds", decided, SETTINGS)) == (None, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.0123456), "0.0123"), (number(0.9996), "1.00"), (number(17202402), "1.72e+07"),
        (number(12345.0), "12,345"), (number(0), "0"), (number(None), "not defined"),
        (number(float("nan")), "not defined"), (number(99.97), "100"),
        (percent(0.0), "0 %"), (percent(0.004), "0.40 %"), (percent(0.996), "99.6 %"),
        (p_text(0.0004), "p < 0.001"), (p_text(None), "p not defined"),
    ],
)  # fmt: skip
def test_numbers_have_sensible_digits_and_do_not_round_to_certainty(text, expected):
    assert text == expected
