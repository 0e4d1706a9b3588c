"""A run: what it writes, and what it repeats to the byte."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.data.batch import groups_of_split
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.data import EpochOrder, epoch_order
from ptycho_torch.train.fit import build_module, fit_run
from ptycho_torch.train.history import History, snapshot
from ptycho_torch.train.learner import Learner

REPEATED = ("run", "history", "bundle", "last", "patches")


def digests(result):
    return {k: hashlib.sha256(result.outputs[k].read_bytes()).hexdigest() for k in REPEATED}


def test_the_same_run_twice_gives_the_same_bytes(train_tiny):
    torch.manual_seed(1)
    first = digests(train_tiny(folder="one"))
    torch.manual_seed(2)
    assert digests(train_tiny(folder="two")) == first


def test_another_seed_gives_other_weights_and_another_order(train_tiny):
    first, second = train_tiny(folder="one"), train_tiny(folder="two", seed=1)
    assert first.run["first_loss"] != second.run["first_loss"]
    assert not np.array_equal(epoch_order(0, 0, 100), epoch_order(1, 0, 100))


def test_training_learns_and_says_so(train_tiny):
    result = train_tiny(training={"epochs": 6})
    losses = result.history["mae_val_loss"]
    assert result.run["outcome"] == "completed" and result.run["failure"] is None
    assert losses.iloc[-1] < 0.8 * losses.iloc[0] < 1
    assert result.run["best_val_loss"] == losses.min()
    assert result.run["best_epoch"] == losses.idxmin() + 1
    assert (result.run["epochs"], result.run["steps"]) == (6, 90)
    assert result.run["settings"]["execution"]["clip"]["gradient_clip_algorithm"] == "none"


def test_best_and_last_weights_are_those_of_their_epochs(train_tiny, monkeypatch):
    """The first execution scored the last weights under the best loss's name.

    Planted: the second of three epochs has the lowest validation loss.
    """
    seen = {}
    plain = History.add_epoch

    def planted(self, module, records, *, losses, **more):
        epoch = len(self.rows) + 1
        seen[epoch] = snapshot(module.network)
        losses = losses | {"mae_val_loss": {1: 0.5, 2: 0.1, 3: 0.3}[epoch]}
        plain(self, module, records, losses=losses, **more)

    monkeypatch.setattr(History, "add_epoch", planted)
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
    train_tiny, tiny_dataset, tiny, scaling
):
    """Computed anew from the network alone, with the input's scale worked out here."""
    result = train_tiny(training={"input_scaling": scaling})
    tiny["training"]["input_scaling"] = scaling
    run = run_settings(parse_study(tiny, "tiny.yaml"), "tiny", "control", 0)
    train, validation, test = (
        read_split(tiny_dataset.splits[s], patch_px=16) for s in ("train", "validation", "test")
    )
    module = build_module(run, train, validation)
    bundle = read_bundle(result.outputs["bundle"].parent)
    module.network.load_state_dict(bundle.weights)
    power = (train.arrays["diffraction"].astype(float) ** 2).sum(axis=(1, 2)).mean()
    scale = 1.0 if scaling == "none" else float(np.sqrt(8**2 / power))
    observed, seen = (torch.from_numpy(s.diffraction_nCHW) for s in (validation, test))
    with torch.no_grad():
        predicted = amplitudes(module.network(observed * scale), module.probe_MHW)
        patches = module.network(seen * scale)
    loss = (predicted - observed).abs().mean() / observed.mean()
    assert loss.item() == pytest.approx(result.run["best_val_loss"], rel=1e-4)
    stored = np.moveaxis(io.read_npz(result.outputs["patches"], "best")["best"], -1, 1)
    np.testing.assert_allclose(stored, patches.numpy(), atol=1e-5)


def test_only_full_batches_train_in_an_order_of_their_own():
    order = EpochOrder(21, 8)
    first, second = order.batches(0, 0), order.batches(0, 1)
    assert len(order) == 2 and first.shape == (2, 8)
    assert len(first.unique()) == 16 and first.max() < 21
    assert not torch.equal(first, second)
    assert torch.equal(first, order.batches(0, 0))


def test_every_group_is_validated_and_counts_the_same(tiny_study, tiny_dataset):
    """121 groups make batches of 64 and 57: a mean of means fails here."""
    run = run_settings(tiny_study, "tiny", "control", 0)
    train, validation = (
        read_split(tiny_dataset.splits[s], patch_px=16) for s in ("train", "validation")
    )
    learner = Learner(build_module(run, train, validation), steps_per_epoch=1)
    groups = groups_of_split(validation)
    found = learner._validation_losses(groups)
    with torch.no_grad():
        whole = learner.module.validation_losses(groups.take(slice(None)))
    assert len(groups) == 121
    for name, loss in whole.items():
        assert found[name] == pytest.approx(loss.item(), rel=1e-6), name


def test_a_batch_larger_than_a_files_split_is_refused_with_arm_and_dataset(
    tiny_study, tiny_dataset, tmp_path
):
    """Files are not known to the configuration, so the run itself must refuse."""
    run = run_settings(tiny_study, "tiny", "agc", 0)
    large = run.training.model_copy(update={"batch_size": 500})
    names = ("run", "timing", "history", "bundle", "last", "patches")
    message = r"arms\.agc on dataset 'tiny': training\.batch_size is 500, .* only 121 groups"
    with pytest.raises(InputError, match=message):
        fit_run(
            run.model_copy(update={"training": large}),
            splits=tiny_dataset.splits,
            dataset=tiny_dataset.dataset,
            outputs={name: tmp_path / "run" / name for name in names},
            threads=1,
        )
    assert not (tmp_path / "run").exists()


def test_clipping_in_force_is_seen_in_the_history(train_tiny):
    clip = {"gradient_clip_algorithm": "norm", "max_norm": 1e-3}
    clipped = train_tiny(folder="clipped", execution={"clip": clip}).history
    free = train_tiny(folder="free").history
    assert (clipped["clipped_share"] == 1).all() and (free["clipped_share"] == 0).all()
    assert clipped["clipped_grad_norm_max"].max() == pytest.approx(1e-3, rel=1e-3)
    assert (clipped["grad_norm_median"] > 1e-3).all()
    assert (free["clipped_grad_norm_max"] == free["grad_norm_max"]).all()


def test_the_arms_clipping_reaches_its_run(train_tiny):
    control, agc = train_tiny(folder="c"), train_tiny(folder="a", arm="agc")
    assert agc.run["clipped_share"] > 0 == control.run["clipped_share"]
    assert agc.run["best_val_loss"] != control.run["best_val_loss"]


@pytest.mark.parametrize(
    "training",
    [{"loss": "poisson"}, {"input_scaling": "statistical"}, {"batch_size": 16}, {"epochs": 3}],
)
def test_each_training_setting_changes_the_result(train_tiny, training):
    base = train_tiny(folder="base")
    other = train_tiny(folder="other", training=training)
    assert base.run["best_mae_val_loss"] != other.run["best_mae_val_loss"]
    if "loss" in training:
        assert other.run["val_loss_name"] == "poisson_val_loss"
        assert "poisson_train_loss" in other.history


def test_a_dataset_with_another_checksum_is_refused_and_nothing_is_written(
    train_tiny, tiny_dataset, tmp_path
):
    from types import SimpleNamespace

    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset.folder, copy)
    path = copy / "validation.npz"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    moved = SimpleNamespace(
        splits={s: copy / f"{s}.npz" for s in tiny_dataset.splits}, dataset=copy / "dataset.json"
    )
    with pytest.raises(InputError, match=r"validation\.npz: SHA-256 is .* expected"):
        train_tiny(dataset=moved)
    assert not (tmp_path / "run").exists()


def test_threads_are_never_more_than_the_machine_has(train_tiny, monkeypatch):
    from ptycho_torch.runtime import jobs

    monkeypatch.setattr(jobs.os, "sched_getaffinity", lambda pid: {0, 1})
    assert jobs.usable_threads(64) == 2
    assert jobs.usable_threads(1) == 1
    assert train_tiny().timing["threads"] == 1
    assert 0 < train_tiny().timing["inference_s"] < 60
