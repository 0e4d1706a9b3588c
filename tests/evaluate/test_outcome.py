"""The rule that names a run's outcome: each branch, its order, its numbers."""

import dataclasses

import pytest

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.outcome import Evidence, decide_outcome
from ptycho_torch.evaluate.twin import TwinReading

READING = TwinReading(
    share=0.1,
    distinct_patches=90,
    patches=100,
    direct_correlation=0.98,
    twin_correlation=0.7,
    truth_twin_correlation=0.66,
    best_correlation=0.98,
    overlap_direct=0.99,
    overlap_twin=0.5,
)
TWIN = dataclasses.replace(
    READING, share=0.9, direct_correlation=0.7, twin_correlation=0.96, best_correlation=0.96
)
GOOD = Evidence(
    outcome="completed",
    failure=None,
    best_mae_val_loss=0.08,
    constant_loss=0.289,
    complex_error=0.1,
    constant_complex_error=0.398,
    broken_patches=0,
    amplitude_std_ratio=0.95,
    amplitude_pearson_r=0.97,
    twin=READING,
)


def decide(settings=None, *, reading=None, **changed):
    evidence = dataclasses.replace(GOOD, **changed)
    if reading:
        twin = dataclasses.replace(evidence.twin, **reading)
        evidence = dataclasses.replace(evidence, twin=twin)
    return decide_outcome(evidence, EvaluationSettings(**(settings or {})))


@pytest.mark.parametrize(
    ("changed", "reading", "outcome"),
    [
        ({}, {}, "completed"),
        ({"amplitude_std_ratio": 0.09}, {}, "collapsed"),
        ({"amplitude_std_ratio": 0.11}, {}, "completed"),
        ({"twin": TWIN}, {}, "twin"),
        ({"twin": TWIN}, {"share": 0.5}, "completed"),
        ({"twin": TWIN}, {"twin_correlation": 0.89}, "completed"),
        ({"twin": TWIN}, {"distinct_patches": 4}, "completed"),
        ({}, {"best_correlation": 0.89}, "misfit"),
        ({}, {"best_correlation": 0.91}, "completed"),
        ({"best_mae_val_loss": 0.281}, {}, "stagnated"),  # Learned nothing: C is 0.289.
        ({"best_mae_val_loss": 0.2602}, {}, "stagnated"),
        ({"best_mae_val_loss": 0.26}, {}, "completed"),
        ({"best_mae_val_loss": 0.281, "constant_loss": None}, {}, "completed"),
        ({"complex_error": 0.398}, {}, "misfit"),
        ({"complex_error": None}, {}, "completed"),
        ({"amplitude_pearson_r": 0.49}, {}, "misfit"),
        ({"amplitude_pearson_r": 0.49, "best_mae_val_loss": None}, {}, "misfit"),
        ({"best_mae_val_loss": None}, {}, "completed"),
        ({"broken_patches": 3, "amplitude_std_ratio": None}, {}, "non_finite"),
        ({}, {"share": None, "distinct_patches": 0}, "completed"),
    ],
)
def test_outcomes(changed, reading, outcome):
    assert decide(reading=reading, **changed)[0] == outcome


def test_trainings_own_failure_stays():
    """A run that exploded may also look collapsed, a twin, or fine."""
    failure = {"epoch": 3, "step": 41, "reason": "loss 9.9 is over 5 times its start"}
    outcome, reason = decide(
        outcome="exploded", failure=failure, amplitude_std_ratio=0.0, broken_patches=9
    )
    assert outcome == "exploded"
    assert (
        reason == "training ended exploded (epoch 3, step 41): loss 9.9 is over 5 times its start"
    )


def test_a_collapsed_run_is_not_called_a_twin_or_a_misfit():
    collapsed = decide(amplitude_std_ratio=0.01, amplitude_pearson_r=0.1, twin=TWIN)
    assert collapsed[0] == "collapsed"


@pytest.mark.parametrize(
    ("changed", "settings", "words"),
    [
        ({"amplitude_std_ratio": 0.15}, {"collapse_fraction": 0.2}, ["0.15", "0.2"]),
        ({"twin": TWIN}, {"twin_share": 0.6}, ["90.0% of 90", "60.0%", "0.960", "0.700"]),
        ({"amplitude_pearson_r": 0.3}, {}, ["0.300", "0.5", "0.08"]),
        ({"best_mae_val_loss": 0.2}, {"constant_fraction": 0.5}, ["0.2", "0.5", "0.289"]),
        ({"complex_error": 0.41}, {}, ["0.41", "0.398"]),
        ({}, {"misfit_correlation": 0.99}, ["0.980", "0.99", "0.08"]),
        ({}, {}, ["10.0%", "50.0%", "0.95", "0.98"]),
    ],
)
def test_the_reason_has_the_numbers_and_the_thresholds(changed, settings, words):
    _, reason = decide(settings, **changed)
    for word in words:
        assert word in reason
