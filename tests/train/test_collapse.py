"""The guard against collapse trips where the patches have lost their structure, and only there."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.networks import build_generator
from ptycho_torch.train import module as modules
from ptycho_torch.train.collapse import CollapseGuard, illuminated_variance
from ptycho_torch.train.divergence import DivergenceMonitor
from ptycho_torch.train.module import PtychoModule

ARMS = ("hybrid", "stable_hybrid", "layerscale_hybrid")


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


@pytest.mark.parametrize("name", ARMS)
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
    for seed in range(2):
        network = build_generator(run.generator, channels=1, patch_px=16, seed=seed)
        with torch.no_grad():
            untrained = illuminated_variance(network(seen), probe).max().item()
            network.head.weight.mul_(1e-3)
            fading = illuminated_variance(network(seen), probe).max().item()
        assert untrained > 50 * threshold
        assert fading < threshold / 10


def plant(monkeypatch, epochs):
    """Make the network draw constant patches in these validations (counted from 1)."""
    plain = PtychoModule.validation_losses

    def validate(self, batch):
        if self.current_epoch + 1 not in epochs:
            return plain(self, batch)
        hook = self.network.register_forward_hook(lambda *a: torch.ones_like(a[2]))
        # A hook that comes first is seen by the guard, as a collapsed network would be.
        self.network._forward_hooks.move_to_end(hook.id, last=False)
        try:
            return plain(self, batch)
        finally:
            hook.remove()

    monkeypatch.setattr(PtychoModule, "validation_losses", validate)


@pytest.mark.parametrize(
    ("collapsed", "changes", "outcome", "epochs"),
    [
        ({2, 3}, {}, "collapsed", 3),
        ({1, 3}, {}, "completed", 4),
        ({2, 3}, {"collapse_variance": None}, "completed", 4),
        ({2, 3}, {"collapse_patience_epochs": 3}, "completed", 4),
        ({3}, {"collapse_patience_epochs": 1}, "collapsed", 3),
    ],
)
def test_a_planted_collapse_ends_the_run_from_its_first_epoch(
    train_tiny, monkeypatch, collapsed, changes, outcome, epochs
):
    plant(monkeypatch, collapsed)
    run = train_tiny(training={"epochs": 4, "collapse_patience_epochs": 2, **changes}).run

    assert (run["outcome"], run["epochs"]) == (outcome, epochs)
    if outcome == "collapsed":
        first = min(collapsed)
        assert (run["failure"]["epoch"], run["failure"]["step"]) == (first, 15 * first)
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


def test_the_guard_changes_no_result_and_leaves_no_hook(train_tiny):
    with_guard = train_tiny(folder="on")
    without = train_tiny(folder="off", training={"collapse_variance": None})
    for file in ("last.safetensors", "history.csv", "test_patches.npz"):
        assert (with_guard.folder / file).read_bytes() == (without.folder / file).read_bytes()


def test_a_patch_with_structure_in_any_batch_counts():
    training = SimpleNamespace(
        collapse_variance=1e-6, collapse_patience_epochs=1, explode_factor=10,
        explode_patience_steps=10,
    )  # fmt: skip
    network = torch.nn.Identity()
    module = SimpleNamespace(network=network, probe_MHW=torch.ones(1, 2, 2, dtype=torch.complex64))
    trainer = SimpleNamespace(sanity_checking=False, current_epoch=0)
    flat = torch.ones(1, 1, 2, 2, dtype=torch.complex64)
    rough = flat.clone()
    rough[..., 0] = 2
    for drawn, collapsed in (
        ([flat, flat], True), ([rough, flat], False), ([flat, rough], False),
    ):  # fmt: skip
        monitor = DivergenceMonitor(training)
        guard = CollapseGuard(training, monitor)
        guard.on_validation_start(trainer, module)
        for patches in drawn:
            network(patches)
        guard.on_validation_end(trainer, module)
        guard.on_train_epoch_end(trainer, module)
        assert (monitor.failure is not None) == collapsed
    assert not network._forward_hooks
