"""The rule that names a run's outcome: each branch, its order, its numbers."""

from dataclasses import replace

import pytest

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.outcome import decide_outcome
from ptycho_torch.evaluate.twin import TwinReading

READING = TwinReading(
    share=0.1, distinct_patches=90, patches=100, direct_correlation=0.98, twin_correlation=0.7,
    best_correlation=0.98,
)  # fmt: skip
TWIN = {
    "share": 0.9, "direct_correlation": 0.7, "twin_correlation": 0.96, "best_correlation": 0.96
}  # fmt: skip


def decide(
    *, settings=None, twin=None, loss=0.08, outcome="completed", failure=None, error=0.1,
    ratio=0.95, pearson=0.97, broken=0, constant_loss=0.289,
):  # fmt: skip
    return decide_outcome(
        {"outcome": outcome, "failure": failure, "best_mae_val_loss": loss},
        {"amplitude_std_ratio": ratio, "amplitude_pearson_r": pearson, "complex_error": error},
        replace(READING, **(twin or {})),
        EvaluationSettings(**(settings or {})),
        broken_patches=broken,
        constant_loss=constant_loss,
        constant_error=0.398,
    )


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "completed"),
        ({"ratio": 0.09}, "collapsed"),
        ({"ratio": 0.11}, "completed"),
        ({"ratio": 0.01, "pearson": 0.1, "twin": TWIN}, "collapsed"),
        ({"twin": TWIN}, "twin"),
        ({"twin": TWIN | {"share": 0.5}}, "completed"),
        ({"twin": TWIN | {"twin_correlation": 0.89}}, "completed"),
        ({"twin": TWIN | {"distinct_patches": 4}}, "completed"),
        ({"twin": {"share": None, "distinct_patches": 0}}, "completed"),
        ({"twin": {"best_correlation": 0.89}}, "misfit"),
        ({"twin": {"best_correlation": 0.91}}, "completed"),
        ({"loss": 0.2602}, "stagnated"),  # Learned nothing: C is 0.289.
        ({"loss": 0.26}, "completed"),
        ({"loss": 0.281, "constant_loss": None}, "completed"),
        ({"error": 0.398}, "misfit"),
        ({"error": "not defined"}, "completed"),
        ({"pearson": 0.49, "loss": None}, "misfit"),
        ({"loss": None}, "completed"),
        ({"broken": 3, "ratio": "not defined"}, "non_finite"),
        ({"outcome": "exploded", "ratio": 0.0, "broken": 9}, "exploded"),
    ],
)
def test_outcomes(changed, outcome):
    assert decide(**changed)[0] == outcome


FAILURE = {"epoch": 3, "step": 41, "reason": "loss 9.9 is over 5 times its start"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"outcome": "exploded", "failure": FAILURE}, ["(epoch 3, step 41): loss 9.9 is over 5"]),
        ({"ratio": 0.15, "settings": {"collapse_fraction": 0.2}}, ["0.15", "0.2"]),
        (
            {"twin": TWIN, "settings": {"twin_share": 0.6}},
            ["90.0% of 90", "60.0%", "0.960", "0.700"],
        ),
        ({"pearson": 0.3}, ["0.300", "0.5", "0.08"]),
        ({"loss": 0.2, "settings": {"constant_fraction": 0.5}}, ["0.2", "0.5", "0.289"]),
        ({"error": 0.41}, ["0.41", "0.398"]),
        ({"settings": {"misfit_correlation": 0.99}}, ["0.980", "0.99", "0.08"]),
        ({}, ["10.0%", "50.0%", "0.95", "0.98"]),
    ],
)
def test_the_reason_has_the_numbers_and_the_thresholds(changed, words):
    _, reason = decide(**changed)
    for word in words:
        assert word in reason
