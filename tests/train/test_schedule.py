"""Schedules step, and step where they say: read from the history of real runs.

The first execution's warm-up and cosine never moved; a schedule that is only built fails here.
"""

import math

import pytest
import torch

from ptycho_torch.config.training import PlateauSchedule
from ptycho_torch.train.schedule import make_schedule

# 121 groups in batches of 8: 15 steps an epoch.
STEPS = 15


def rates(train_tiny, schedule, epochs=3):
    result = train_tiny(training={"epochs": epochs, "schedule": schedule})
    assert list(result.history["step"]) == [STEPS * (i + 1) for i in range(epochs)]
    return list(result.history["learning_rate"])


def test_constant_rate_stays(train_tiny):
    assert rates(train_tiny, {"name": "constant"}) == [2e-3] * 3


def test_exponential_rate_falls_once_an_epoch(train_tiny):
    found = rates(train_tiny, {"name": "exponential", "gamma": 0.5})
    assert found == pytest.approx([2e-3, 1e-3, 0.5e-3])


def test_warmup_cosine_moves_every_step_and_ends_at_its_fraction(train_tiny):
    found = rates(
        train_tiny, {"name": "warmup_cosine", "warmup_epochs": 1.0, "final_fraction": 0.1}
    )
    last_of_warmup = 2e-3 * STEPS / (STEPS + 1)
    done = [(STEPS * epoch - 1 - STEPS) / (2 * STEPS) for epoch in (2, 3)]
    cosine = [2e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi * d)) / 2) for d in done]
    assert found == pytest.approx([last_of_warmup, *cosine])
    assert found[-1] < 0.15 * 2e-3


def test_plateau_lowers_the_rate_after_its_patience():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    settings = PlateauSchedule(name="plateau", factor=0.1, patience_epochs=2)
    schedule = make_schedule(settings, optimizer, steps=1, epochs=1)
    found = []
    for loss in (1.0, 1.0, 1.0, 0.5, 0.5):
        schedule.step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.1])


def test_plateau_is_stepped_with_the_validation_loss(train_tiny):
    """A step size too small to improve anything beyond torch's threshold."""
    result = train_tiny(
        training={
            "epochs": 4,
            "optimizer": {"name": "sgd", "learning_rate": 1e-12},
            "schedule": {"name": "plateau", "factor": 0.5, "patience_epochs": 1},
        }
    )
    assert list(result.history["learning_rate"]) == pytest.approx([1e-12, 1e-12, 0.5e-12, 0.25e-12])


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.1},
        {"name": "sgd", "learning_rate": 2e-3},
        {"name": "sgd", "learning_rate": 2e-3, "momentum": 0.0},
        {"name": "adam", "learning_rate": 2e-3, "beta1": 0.5},
        {"name": "adam", "learning_rate": 2e-3, "beta2": 0.9},
    ],
)
def test_each_optimizer_setting_reaches_the_weights(train_tiny, optimizer):
    base = train_tiny(folder="base", training={"epochs": 1})
    other = train_tiny(folder="other", training={"epochs": 1, "optimizer": optimizer})
    assert base.run["best_val_loss"] != other.run["best_val_loss"]
