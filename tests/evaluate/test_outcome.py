"""The rule that names a run's outcome: each branch, its order, its numbers."""

from dataclasses import replace

import pytest

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.run import decide_outcome
from ptycho_torch.evaluate.truth import TwinReading

READING = TwinReading(
    share=0.1, distinct_patches=90, patches=100, direct_correlation=0.98, twin_correlation=0.7,
    best_correlation=0.98,
)  # fmt: skip
TWIN = {
    "share": 0.9, "direct_correlation": 0.7, "twin_correlation": 0.96, "best_correlation": 0.96
}  # fmt: skip


def decide(
    *, settings=None, twin=None, loss=0.08, outcome="completed", failure=None, error=0.1,
    ratio=0.95, pearson=0.97, broken=0,
):  # fmt: skip
    return decide_outcome(
        {"outcome": outcome, "failure": failure, "best_mae_val_loss": loss},
        {"amplitude_std_ratio": ratio, "amplitude_pearson_r": pearson, "complex_error": error},
        replace(READING, **(twin or {})),
        EvaluationSettings(**(settings or {})),
        broken_patches=broken,
        constant_loss=0.289,
        constant_error=0.398,
    )


FAILURE = {"epoch": 3, "step": 41, "reason": "loss 9.9 is over 5 times its start"}
BLOWN = {"outcome": "exploded", "failure": FAILURE, "ratio": 0.0, "broken": 9}


@pytest.mark.parametrize(
    ("changed", "outcome", "numbers"),
    [
        ({}, "completed", ""),
        ({"ratio": 0.09}, "collapsed", "0.09 0.1"),
        ({"ratio": 0.11}, "completed", ""),
        ({"ratio": 0.01, "pearson": 0.1, "twin": TWIN}, "collapsed", "0.01"),
        ({"twin": TWIN}, "twin", "90.0% 90 50.0% 0.960 0.700"),
        ({"twin": TWIN | {"share": 0.5}}, "completed", ""),
        ({"twin": TWIN | {"twin_correlation": 0.89}}, "completed", ""),
        ({"twin": TWIN | {"distinct_patches": 4}}, "completed", ""),
        ({"twin": {"share": None, "distinct_patches": 0}}, "completed", ""),
        ({"twin": {"best_correlation": 0.89}}, "misfit", "0.890 0.9 0.08"),
        ({"twin": {"best_correlation": 0.91}}, "completed", ""),
        ({"loss": 0.2602}, "stagnated", "0.26 0.9 0.289"),  # Learned nothing: C is 0.289.
        ({"loss": 0.26}, "completed", ""),
        ({"error": 0.398}, "misfit", "0.398"),
        ({"error": "not defined"}, "completed", ""),
        ({"pearson": 0.49, "loss": None}, "misfit", "0.490 0.5 no validation loss"),
        ({"loss": None}, "completed", ""),
        ({"broken": 3, "ratio": "not defined"}, "non_finite", "3 100"),
        (BLOWN, "exploded", "(epoch 3, step 41): loss 9.9 is over 5"),
        ({"settings": {"misfit_correlation": 0.99}}, "misfit", "0.980 0.99 0.08"),
    ],
)
def test_outcomes_and_their_reasons_with_numbers_and_thresholds(changed, outcome, numbers):
    found, reason = decide(**changed)
    assert found == outcome
    assert all(number in reason for number in numbers.split())
