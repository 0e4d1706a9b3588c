"""A run: what it writes, what it repeats to the byte, and how it ends when it goes bad: the step,
the reason, and every file all the same."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.train.callbacks import illuminated_variance
from ptycho_torch.train.module import PtychoModule

# 121 groups in batches of 8.
STEPS = 15


def test_the_same_run_twice_gives_the_same_bytes_and_another_seed_others(train_tiny, plain):
    torch.manual_seed(7)
    again, other = (train_tiny(folder=f"{seed}", seed=seed).results for seed in (0, 1))
    assert again == plain.results and all(other[key] != again[key] for key in again)


def test_training_learns_and_says_so(train_tiny):
    result = train_tiny(training={"epochs": 6})
    losses, run, timing = result.history["mae_val_loss"], result.run, result.timing
    assert run["outcome"] == "completed" and run["failure"] is None
    assert losses.iloc[-1] < 0.95 * losses.iloc[0] and losses.iloc[-1] < 0.3 * run["first_loss"]
    assert (run["best_val_loss"], run["best_epoch"]) == (losses.min(), losses.idxmin() + 1)
    assert (run["epochs"], run["steps"]) == (6, 6 * STEPS)
    assert timing["threads"] == 1
    assert 0 < timing["inference_s"] < timing["wall_s"]


def test_best_and_last_weights_are_those_of_their_epochs(train_tiny, monkeypatch):
    """The first execution scored the last weights under the best loss's name.

    Planted: the second of three epochs has the lowest validation loss.
    """
    seen = {}
    plain = PtychoModule.on_validation_epoch_end

    def planted(self):
        plain(self)
        epoch = self.current_epoch + 1
        seen[epoch] = self.snapshot().weights
        self.val_losses["mae_val_loss"] = {1: 0.5, 2: 0.1, 3: 0.3}[epoch]

    monkeypatch.setattr(PtychoModule, "on_validation_epoch_end", planted)
    result = train_tiny(training={"epochs": 3})
    assert (result.run["best_epoch"], result.run["best_val_loss"]) == (2, 0.1)
    assert result.run["last_val_loss"] == 0.3
    best = read_bundle(result.outputs["bundle"].parent).weights
    for name, stored, epoch in (("best", best, 2), ("last", load_file(result.outputs["last"]), 3)):
        assert all(torch.equal(stored[k], v) for k, v in seen[epoch].items()), name
    patches = io.read_npz(result.outputs["patches"])
    assert not np.array_equal(patches["best"], patches["last"])


@pytest.mark.parametrize("scaling", ["none", "statistical"])
def test_loss_and_prediction_are_of_the_stored_weights(train_tiny, run_of, tiny_data, scaling):
    """Recomputed from the network alone, with the input's scale worked out here; 121 groups make
    batches of 64 and 57, of which a mean of means fails here."""
    changes = {"training": {"input_scaling": scaling}}
    result = train_tiny(**changes)
    module = PtychoModule(run_of(**changes), tiny_data)
    module.network.load_state_dict(read_bundle(result.outputs["bundle"].parent).weights)
    observed, seen = (s.amplitude_BCHW for s in (tiny_data.validation, tiny_data.test))
    power = tiny_data.train.amplitude_BCHW.double().square().sum(dim=(2, 3)).mean().item()
    scale = 1.0 if scaling == "none" else float(np.sqrt(8**2 / power))
    with torch.no_grad():
        predicted = amplitudes(module.network(observed * scale), module.probe_MHW)
        patches = module.network(seen * scale)
    loss = (predicted - observed).abs().mean() / observed.mean()
    assert len(observed) == 121
    assert loss.item() == pytest.approx(result.run["best_val_loss"], rel=1e-5)
    stored = np.moveaxis(io.read_npz(result.outputs["patches"], "best")["best"], -1, 1)
    np.testing.assert_allclose(stored, patches.numpy(), atol=1e-5)


DONE = [(STEPS * epoch - 1 - STEPS) / (2 * STEPS) for epoch in (2, 3)]
COSINE = [2e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi * d)) / 2) for d in DONE]
# Too small to improve anything beyond torch's threshold, large enough for torch to lower it.
IDLE = {"optimizer": {"name": "sgd", "learning_rate": 5e-8}, "epochs": 4}


@pytest.mark.parametrize(
    ("schedule", "changes", "expected"),
    [
        ({"name": "constant"}, {}, [2e-3] * 3),
        ({"name": "exponential", "gamma": 0.5}, {}, [2e-3, 1e-3, 0.5e-3]),
        ({"name": "warmup_cosine", "warmup_epochs": 1.0, "final_fraction": 0.1}, {},
         [2e-3 * STEPS / (STEPS + 1), *COSINE]),
        ({"name": "plateau", "factor": 0.5, "patience_epochs": 1}, IDLE,
         [5e-8, 5e-8, 2.5e-8, 1.25e-8]),
    ],
)  # fmt: skip
def test_the_rate_of_each_epochs_last_step(train_tiny, schedule, changes, expected):
    """The first execution's warm-up and cosine never moved."""
    history = train_tiny(training={"epochs": 3, "schedule": schedule, **changes}).history
    assert list(history["learning_rate"]) == pytest.approx(expected, rel=1e-6, abs=0)
    assert list(history["step"]) == [STEPS * (i + 1) for i in range(len(expected))]


def bad_gradient(loss):
    """The same number, with a gradient that is not."""
    spoilt = loss * 1
    spoilt.register_hook(lambda grad: grad * float("nan"))
    return spoilt


def ended(run):
    """How a run ended, the epoch and the step that failed, and the epochs and steps it has."""
    failure = run["failure"] or {}
    failed = failure.get("epoch"), failure.get("step")
    return (run["outcome"], *failed, run["epochs"], run["steps"])


@pytest.mark.parametrize(
    ("where", "step"), [("loss", 1), ("gradient", 15), ("loss", 16), ("gradient", 17)]
)
def test_a_non_finite_step_ends_the_run_before_it_is_taken(train_tiny, plant_losses, where, step):
    """15 steps an epoch, looked at after 16 or at its end: the weights must be those that the bad
    step found, though more steps were computed before anybody looked. Every file is there."""
    spoil = bad_gradient if where == "gradient" else lambda loss: loss * float("inf")
    weights = plant_losses(lambda n, loss: spoil(loss) if n == step else loss)
    result = train_tiny()
    epoch = (step - 1) // 15 + 1
    assert ended(result.run) == ("non_finite", epoch, step, epoch - 1, step - 1)
    assert where in result.run["failure"]["reason"]
    assert len(result.history) == epoch - 1 and all(p.exists() for p in result.outputs.values())
    assert (result.run["best_val_loss"] is None) == (epoch == 1)
    last = load_file(result.outputs["last"])
    assert all(torch.equal(last[k], v) for k, v in weights[step - 1].items())


@pytest.mark.parametrize(
    ("multiple", "steps", "expected", "spikes"),
    [
        (10.5, range(5, 99), ("exploded", 1, 5, 0, 7), 4),
        (9.5, range(5, 99), ("completed", None, None, 2, 30), 0),
        (10.5, [*range(13, 16), *range(17, 99)], ("exploded", 2, 17, 1, 19), 7),
    ],
)
def test_spikes_in_a_row_end_a_run(train_tiny, plant_losses, multiple, steps, expected, spikes):
    """A spike that heals is counted and does not end the run."""
    seen = []

    def change(step, loss):
        seen.append(loss.detach())
        return loss + (multiple * seen[0] - loss).detach() if step in steps else loss

    weights = plant_losses(change)
    result = train_tiny(training={"explode_patience_steps": 4})
    assert (ended(result.run), result.run["loss_spikes"]) == (expected, spikes)
    if expected[0] == "exploded":
        assert "4 steps in a row more than 10 times" in result.run["failure"]["reason"]
        last = load_file(result.outputs["last"])
        assert all(torch.equal(last[k], v) for k, v in weights[expected[-1]].items())


def test_a_validation_that_is_not_finite_ends_the_run_in_its_epoch(train_tiny, monkeypatch):
    spoilt = dict.fromkeys(("mae_val_loss", "poisson_val_loss"), torch.tensor(torch.nan))
    monkeypatch.setattr(PtychoModule, "validation_losses", lambda *_: spoilt)
    run = train_tiny().run
    assert ended(run) == ("non_finite", 1, 15, 0, 15)
    assert "the validation loss is nan" in run["failure"]["reason"]


def test_the_variance_in_the_light_by_hand():
    """Two illuminated pixels of weight 1/2: 1 and 3 have mean 2, spread 1, power 5; i and -i have
    mean 0. What is drawn in the dark, and a global phase, do not count."""
    probe = torch.tensor([[[1, 1j], [0, 0]]], dtype=torch.complex64)
    lit, dark = [[1, 3], [1j, -1j], [2, 2], [0, 0]], [1e3, -1e3]
    patches = torch.tensor([[row, dark] for row in lit], dtype=torch.complex64)[:, None]
    for turn in (1, np.exp(0.7j)):
        found = illuminated_variance(patches * turn, probe)
        torch.testing.assert_close(found[:, 0], torch.tensor([0.2, 1, 0, 0]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("collapsed", "sizes", "changes", "expected"),
    [
        ({2, 3}, (64, 57), {}, ("collapsed", 2, 30, 3, 45)),
        ({2, 3}, (64,), {}, ("completed", None, None, 4, 60)),
        ({1, 3}, (64, 57), {}, ("completed", None, None, 4, 60)),
        ({2, 3}, (64, 57), {"collapse_variance": None}, ("completed", None, None, 4, 60)),
    ],
)
def test_a_collapse_ends_a_run(train_tiny, monkeypatch, collapsed, sizes, changes, expected):
    """Planted: the network draws constant patches in these validations, counted from 1, for its
    batches of these sizes; a patch with structure in any batch counts."""
    plain = PtychoModule.forward

    def draw(self, amplitude_BCHW):
        patches = plain(self, amplitude_BCHW)
        flat = not self.training and self.current_epoch + 1 in collapsed
        return torch.ones_like(patches) if flat and len(patches) in sizes else patches

    monkeypatch.setattr(PtychoModule, "forward", draw)
    run = train_tiny(training={"epochs": 4, "collapse_patience_epochs": 2, **changes}).run
    assert ended(run) == expected
    if run["failure"]:
        assert "under collapse_variance 1e-06" in run["failure"]["reason"]
