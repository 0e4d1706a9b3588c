"""How a run ends when it goes bad: the step, the reason, and every file all the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.networks import build_generator
from ptycho_torch.train import module as modules
from ptycho_torch.train.guards import CollapseGuard, DivergenceMonitor, illuminated_variance
from ptycho_torch.train.module import PtychoModule


def bad_gradient(loss):
    """The same number, with a gradient that is not."""
    spoilt = loss * 1
    spoilt.register_hook(lambda grad: grad * float("nan"))
    return spoilt


@pytest.mark.parametrize("step", [1, 15, 16, 17, 30])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_step_ends_the_run_before_the_optimiser_moves(
    train_tiny, plant_losses, where, step
):
    """15 steps an epoch, looked at after 16 or at its end: the weights must be those that the bad
    step found, though more steps were computed before anybody looked. Every file is there."""
    spoil = bad_gradient if where == "gradient" else lambda loss: loss * float("inf")
    weights = plant_losses(lambda n, loss: spoil(loss) if n == step else loss)
    result = train_tiny()

    assert result.run["outcome"] == "non_finite"
    epoch = (step - 1) // 15 + 1
    assert (result.run["failure"]["epoch"], result.run["failure"]["step"]) == (epoch, step)
    assert where in result.run["failure"]["reason"]
    assert (result.run["epochs"], result.run["steps"]) == (epoch - 1, step - 1)
    assert len(result.history) == epoch - 1 and all(p.exists() for p in result.outputs.values())
    assert (result.run["best_val_loss"] is None) == (epoch == 1)
    last = load_file(result.outputs["last"])
    assert all(torch.equal(last[k], v) for k, v in weights[step - 1].items())


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


def test_the_variance_in_the_light_worked_out_by_hand():
    """Two illuminated pixels of weight 1/2: 1 and 3 have mean 2, spread 1, power 5; i and -i have mean 0."""
    probe = torch.tensor([[[1, 1j], [0, 0]]], dtype=torch.complex64)
    dark = 1e3  # What is drawn in the dark must not count.
    patches = torch.tensor(
        [[[1, 3], [dark, -dark]], [[1j, -1j], [dark, 0]], [[2, 2], [dark, 0]], [[0, 0], [0, 0]]],
        dtype=torch.complex64,
    )[:, None]
    found = illuminated_variance(patches, probe)
    assert found.shape == (4, 1)
    assert found[:, 0].tolist() == pytest.approx([1 / 5, 1, 0, 0], abs=1e-6)
    turned = illuminated_variance(patches * np.exp(0.7j), probe)
    torch.testing.assert_close(turned, found, atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match="the probe is"):
        illuminated_variance(patches[..., :1], probe)


@pytest.mark.parametrize("name", ["hybrid", "stable_hybrid", "layerscale_hybrid"])
def test_untrained_networks_are_far_above_the_threshold_and_fading_ones_far_below(
    tiny, tiny_dataset, name
):
    """Fading: what reaches the head counts a thousandth beside the head's own bias."""
    data = np.load(tiny_dataset.splits["validation"])
    probe = torch.from_numpy(data["probeGuess"])[None]
    seen = torch.from_numpy(np.moveaxis(data["diffraction"], -1, 1))
    tiny["generator"] |= {"name": name, "width": 8}
    run = run_settings(parse_study(tiny, "x"), "tiny", "control", 0)
    threshold = run.training.collapse_variance
    network = build_generator(run.generator, channels=1, patch_px=16, seed=0)
    with torch.no_grad():
        untrained = illuminated_variance(network(seen), probe).max().item()
        network.head.weight.mul_(1e-3)
        fading = illuminated_variance(network(seen), probe).max().item()
    assert untrained > 50 * threshold
    assert fading < threshold / 10


@pytest.mark.parametrize(
    ("collapsed", "changes", "outcome", "epochs"),
    [
        ({2, 3}, {}, "collapsed", 3),
        ({1, 3}, {}, "completed", 4),
        ({2, 3}, {"collapse_variance": None}, "completed", 4),
        ({2, 3}, {"collapse_patience_epochs": 3}, "completed", 4),
    ],
)
def test_a_planted_collapse_ends_the_run_from_its_first_epoch(
    train_tiny, monkeypatch, collapsed, changes, outcome, epochs
):
    """Planted: the network draws constant patches in these validations, counted from 1."""
    plain = PtychoModule.forward

    def draw(self, amplitude_BCHW):
        patches = plain(self, amplitude_BCHW)
        flat = not self.training and self.current_epoch + 1 in collapsed
        return torch.ones_like(patches) if flat else patches

    monkeypatch.setattr(PtychoModule, "forward", draw)
    run = train_tiny(training={"epochs": 4, "collapse_patience_epochs": 2, **changes}).run

    assert (run["outcome"], run["epochs"]) == (outcome, epochs)
    if outcome == "collapsed":
        assert (run["failure"]["epoch"], run["failure"]["step"]) == (2, 30)
        assert "under collapse_variance 1e-06" in run["failure"]["reason"]


def test_a_network_without_a_head_collapses_by_itself(train_tiny, monkeypatch):
    """No plant in the guard's way: weights that give every frame the same constant patch."""
    build = modules.build_generator

    def dead(*args, **more):
        network = build(*args, **more)
        network.head.weight.requires_grad_(False).zero_()
        return network

    monkeypatch.setattr(modules, "build_generator", dead)
    run = train_tiny(training={"epochs": 4}).run
    assert (run["outcome"], run["epochs"], run["failure"]["epoch"]) == ("collapsed", 3, 1)


def test_a_patch_with_structure_in_any_batch_counts():
    training = SimpleNamespace(
        collapse_variance=1e-6, collapse_patience_epochs=1, explode_factor=10,
        explode_patience_steps=10,
    )  # fmt: skip
    trainer = SimpleNamespace(num_training_batches=1)
    flat = torch.ones(1, 1, 2, 2, dtype=torch.complex64)
    rough = flat.clone()
    rough[..., 0] = 2
    for drawn, collapsed in (([flat, flat], True), ([rough, flat], False), ([flat, rough], False)):
        monitor = DivergenceMonitor(training)
        guard = CollapseGuard(training, monitor)
        guard.on_validation_start(trainer, None)
        for patches in drawn:
            guard.watch(patches, flat[0])
        guard.on_train_epoch_end(trainer, None)
        assert (monitor.failure is not None) == collapsed
