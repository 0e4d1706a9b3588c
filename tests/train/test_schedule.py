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
DONE = [(STEPS * epoch - 1 - STEPS) / (2 * STEPS) for epoch in (2, 3)]
COSINE = [2e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi * d)) / 2) for d in DONE]
# A step size too small to improve anything beyond torch's threshold.
IDLE = {"name": "sgd", "learning_rate": 1e-12}


@pytest.mark.parametrize(
    ("schedule", "changes", "expected"),
    [
        ({"name": "constant"}, {}, [2e-3] * 3),
        ({"name": "exponential", "gamma": 0.5}, {}, [2e-3, 1e-3, 0.5e-3]),
        (
            {"name": "warmup_cosine", "warmup_epochs": 1.0, "final_fraction": 0.1},
            {},
            [2e-3 * STEPS / (STEPS + 1), *COSINE],
        ),
        (
            {"name": "plateau", "factor": 0.5, "patience_epochs": 1},
            {"optimizer": IDLE, "epochs": 4},
            [1e-12, 1e-12, 0.5e-12, 0.25e-12],
        ),
    ],
)
def test_the_rate_of_each_epochs_last_step(train_tiny, schedule, changes, expected):
    history = train_tiny(training={"epochs": 3, "schedule": schedule, **changes}).history
    assert list(history["learning_rate"]) == pytest.approx(expected)
    assert list(history["step"]) == [STEPS * (i + 1) for i in range(len(expected))]


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
