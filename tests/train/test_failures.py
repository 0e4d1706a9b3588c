"""How a run ends when it goes bad: the step, the reason, and every file all the same."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.train.module import PtychoModule


def bad_gradient(loss):
    """The same number, with a gradient that is not."""
    spoilt = loss * 1
    spoilt.register_hook(lambda grad: grad * float("nan"))
    return spoilt


@pytest.mark.parametrize("step", [1, 15, 16, 17, 20, 30])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_step_ends_the_run_before_the_optimiser_moves(
    train_tiny, plant_losses, where, step
):
    """15 steps an epoch, looked at after 16 or at its end: the weights must be those that the bad
    step found, though more steps were computed before anybody looked."""
    spoil = bad_gradient if where == "gradient" else lambda loss: loss * float("inf")
    weights = plant_losses(lambda n, loss: spoil(loss) if n == step else loss)
    result = train_tiny()

    assert result.run["outcome"] == "non_finite"
    epoch = (step - 1) // 15 + 1
    assert (result.run["failure"]["epoch"], result.run["failure"]["step"]) == (epoch, step)
    assert where in result.run["failure"]["reason"]
    assert (result.run["epochs"], result.run["steps"]) == (epoch - 1, step - 1)
    assert len(result.history) == epoch - 1
    last = load_file(result.outputs["last"])
    assert all(torch.equal(last[k], v) for k, v in weights[step - 1].items())
    assert np.isfinite(np.concatenate([v.ravel() for v in last.values()])).all()


@pytest.mark.parametrize(
    ("multiple", "steps", "outcome", "spikes"),
    [
        (10.5, range(5, 99), "exploded", 4),
        (9.5, range(5, 99), "completed", 0),
        (10.5, [5, 6, 7, 9, 10, 11], "completed", 6),
        (10.5, [*range(13, 16), *range(17, 99)], "exploded", 7),
    ],
)
def test_spikes_in_a_row_end_the_run_from_the_first_of_them(
    train_tiny, plant_losses, multiple, steps, outcome, spikes
):
    """A spike that heals is counted and does not end the run."""
    seen = []

    def change(step, loss):
        seen.append(loss.detach())
        return loss + (multiple * seen[0] - loss).detach() if step in steps else loss

    weights = plant_losses(change)
    result = train_tiny(training={"explode_patience_steps": 4})
    run = result.run

    assert (run["outcome"], run["loss_spikes"]) == (outcome, spikes)
    if outcome == "exploded":
        first = 5 if 16 in steps else 17
        found = (run["failure"]["epoch"], run["failure"]["step"], run["steps"])
        assert found == ((first - 1) // 15 + 1, first, first + 2)
        assert "4 steps in a row more than 10 times" in run["failure"]["reason"]
        last = load_file(result.outputs["last"])
        assert all(torch.equal(last[k], v) for k, v in weights[first + 2].items())


def test_a_run_that_truly_diverges_is_a_result(train_tiny):
    """No plant: a step size that no network survives."""
    wild = {"name": "sgd", "learning_rate": 1e4, "momentum": 0.9}
    result = train_tiny(training={"optimizer": wild})
    assert result.run["outcome"] in ("exploded", "non_finite")
    assert result.run["failure"]["step"] >= 2


def test_a_run_that_fails_at_once_still_writes_every_file(train_tiny, plant_losses):
    plant_losses(lambda step, loss: loss * float("inf"))
    result = train_tiny()
    assert result.run["outcome"] == "non_finite" and result.run["best_val_loss"] is None
    assert result.run["failure"]["step"] == 1 and result.run["first_loss"] is None
    assert result.history.empty and all(p.exists() for p in result.outputs.values())


def test_a_validation_loss_that_is_not_finite_ends_the_run_in_the_epochs_last_step(
    train_tiny, monkeypatch
):
    plain = PtychoModule.validation_losses
    monkeypatch.setattr(
        PtychoModule,
        "validation_losses",
        lambda self, batch: {k: v * float("nan") for k, v in plain(self, batch).items()},
    )
    run = train_tiny().run
    assert (run["outcome"], run["epochs"], run["steps"]) == ("non_finite", 0, 15)
    assert (run["failure"]["epoch"], run["failure"]["step"]) == (1, 15)
    assert "the validation loss is nan" in run["failure"]["reason"]
