"""A run: what it writes, what it repeats to the byte, and which of its settings reach it."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.physics.forward import amplitudes
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
    assert (timing["threads"], timing["attempts"]) == (1, 1)
    assert 0 < timing["inference_s"] < timing["wall_s"]
    assert {path.name for path in result.folder.iterdir()} == {
        *("run.json", "timing.json", "history.csv", "bundle", "last.safetensors"),
        "test_patches.npz",
    }


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
def test_validation_loss_and_prediction_belong_to_the_stored_weights(
    train_tiny, run_of, tiny_data, scaling
):
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
