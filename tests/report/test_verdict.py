"""What is claimed, and what is only described: two seeds carry no claim, eight a clear one."""

import math

import pytest
from tests.report.planted_runs import LOSS

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.report.rendering import say
from ptycho_torch.runtime.markdown import number, p_text, percent
from ptycho_torch.statistics.compare import log_values
from ptycho_torch.statistics.power import seeds_needed

SETTINGS = StatisticsSettings()
EIGHT, DEEP = list(range(8)), "-fno_blocks-8"
TWO_SEEDS = {"seeds": [0, 1]}
FAILING = {"seeds": EIGHT, "outcomes": {("control", seed): "exploded" for seed in EIGHT}}
STAGE_B = {"seeds": [0, 1], "stage": "stage_b"}
STOPPED = {**STAGE_B, "outcomes": {("stable" + DEEP, 0): "exploded"}}


def with_loss(**loss):
    return {"seeds": [0, 1], "loss": {**LOSS, **loss}}


def claim(values, arm):
    return next(item for item in values["claims"] if item.arm == arm)


@pytest.mark.parametrize(
    ("plan", "arm", "condition", "status", "words"),
    [
        (TWO_SEEDS, "stable", "lowest_loss", "met", "(stable)"),
        (TWO_SEEDS, "agc", "fewer_failures_than_control", "not met", "0 of 2 of the control"),
        (TWO_SEEDS, "norm1", "comparison", "not asked", "no condition is set"),
        (with_loss(agc=0.08 * 1.2), "agc", "max_loss_increase", "not met", "1.20 times that of"),
        (FAILING, "control", "negative_control", "met", "8 of 8 runs failed"),
        (FAILING, "agc", "max_loss_increase", "open", "no successful run has the number"),
        (FAILING, "stable", "lowest_failure_rate", "met", "0 of 8 runs failed"),
        # The deep winner has the loss of the shallow one and a gradient under the bound of 40.
        ({**STAGE_B, "gradient": {"stable" + DEEP: 30.0}}, "stable" + DEEP, "gradient_bounded",
         "met", "the bound is 40.0, 10 times the largest of a run of stable"),
        ({**STAGE_B, "gradient": {"stable" + DEEP: 50.0}}, "stable" + DEEP, "gradient_bounded",
         "not met", "an epoch is 50.0; the bound is 40.0"),
        (STAGE_B, "stable" + DEEP, "ssim_matches", "met", "from that of stable"),
        ({**with_loss(**{"stable" + DEEP: 0.08}), "stage": "stage_b"}, "stable" + DEEP,
         "loss_matches", "not met", "the median loss is 1.33 times that of stable"),
        (STOPPED, "stable" + DEEP, "gradient_bounded", "not met", "1 run ended in NaN or explo"),
    ],
)  # fmt: skip
def test_a_hypothesis_is_described_in_these_runs(values_of, plan, arm, condition, status, words):
    found = {(v.arm, v.condition): v for v in values_of(**plan)["verdicts"]}[arm, condition]
    assert found.status == status
    assert words in say("verdict", found)


def test_a_stage_claims_only_of_arms_that_ask_and_counts_failures(values_of):
    """`norm1` sets no condition: it is exploratory, and no failure makes a claim of it."""
    values = values_of(**FAILING)
    assert [(item.arm, item.state) for item in values["claims"]] == [
        ("stable", "lower"), ("agc", "lower"),
    ]  # fmt: skip
    stable = claim(values, "stable")
    # All eight of the control count as the constant object's 0.289.
    assert stable.interval.high < 0 and stable.p == pytest.approx(2 / 12_870)
    assert (stable.level, stable.family) == (0.02, 2)
    assert say("answered", stable, SETTINGS).startswith("Supported, better: `stable` against")
    assert all(item.level is None and item.better is None for item in values["exploratory"])
    assert {item.arm for item in values["exploratory"]} == {"stable", "agc", "norm1"}
    for item in values_of(**TWO_SEEDS)["claims"]:  # However large the difference.
        assert (item.state, item.n, item.seeds) == ("undecided", 2, None)
        assert "so few runs can show nothing" in say("answered", item, SETTINGS)
    worse = values_of(seeds=EIGHT, outcomes={("stable", seed): "collapsed" for seed in EIGHT})
    assert say("answered", claim(worse, "stable"), SETTINGS).startswith("Supported, worse")


def test_an_undecided_claim_says_what_would_decide_it(values_of):
    values = values_of(seeds=EIGHT)
    agc = claim(values, "agc")
    runs = values["f"].runs
    mine, theirs = (log_values(runs, arm, "composite_loss") for arm in ("agc", "control"))
    expected = seeds_needed(
        mine, theirs, of_interest=math.log(1.1), level=agc.level / 2, settings=SETTINGS
    )
    assert agc.seeds == expected
    assert f"{expected.of_interest} show a difference of 10 %" in say("answered", agc, SETTINGS)


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
