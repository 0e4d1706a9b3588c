"""A run: what it writes, what it repeats to the byte, and which of its settings reach it."""

import hashlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.data.module import EpochOrder
from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.module import PtychoModule
from ptycho_torch.train.run import train_run

REPEATED = ("run", "history", "bundle", "weights", "last", "patches")


def digests(result):
    return {k: hashlib.sha256(result.outputs[k].read_bytes()).hexdigest() for k in REPEATED}


def test_the_same_run_twice_gives_the_same_bytes_and_another_seed_others(train_tiny):
    torch.manual_seed(1)
    first = digests(train_tiny(folder="one"))
    torch.manual_seed(2)
    assert digests(train_tiny(folder="two")) == first
    other = digests(train_tiny(folder="three", seed=1))
    assert all(other[key] != first[key] for key in REPEATED)


def test_training_learns_and_says_so(train_tiny):
    result = train_tiny(training={"epochs": 6})
    losses = result.history["mae_val_loss"]
    assert result.run["outcome"] == "completed" and result.run["failure"] is None
    assert losses.iloc[-1] < 0.8 * losses.iloc[0] < 1
    assert result.run["best_val_loss"] == losses.min()
    assert result.run["best_epoch"] == losses.idxmin() + 1
    assert (result.run["epochs"], result.run["steps"]) == (6, 90)
    assert result.run["settings"]["execution"]["clip"]["gradient_clip_algorithm"] == "none"
    assert (result.timing["threads"], result.timing["attempts"]) == (1, 1)
    assert 0 < result.timing["inference_s"] < result.timing["wall_s"]
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
    bundle = read_bundle(result.outputs["bundle"].parent)
    module.network.load_state_dict(bundle.weights)
    observed, seen = (s.amplitude_nCHW for s in (tiny_data.validation, tiny_data.test))
    power = tiny_data.train.amplitude_nCHW.double().square().sum(dim=(2, 3)).mean().item()
    scale = 1.0 if scaling == "none" else float(np.sqrt(8**2 / power))
    with torch.no_grad():
        predicted = amplitudes(module.network(observed * scale), module.probe_MHW)
        patches = module.network(seen * scale)
    loss = (predicted - observed).abs().mean() / observed.mean()
    assert len(observed) == 121
    assert loss.item() == pytest.approx(result.run["best_val_loss"], rel=1e-5)
    stored = np.moveaxis(io.read_npz(result.outputs["patches"], "best")["best"], -1, 1)
    np.testing.assert_allclose(stored, patches.numpy(), atol=1e-5)


def test_only_full_batches_train_in_an_order_of_their_own():
    orders = [EpochOrder(21, 8, seed=seed) for seed in (0, 0, 1)]
    orders[1].set_epoch(1)
    first, second, other = (order.batches() for order in orders)
    assert len(orders[0]) == 2 and first.shape == (2, 8)
    assert len(first.unique()) == 16 and first.max() < 21
    assert not torch.equal(first, second) and not torch.equal(first, other)
    orders[1].set_epoch(0)
    assert torch.equal(first, orders[1].batches())


def test_a_batch_larger_than_a_files_split_is_refused_with_arm_and_dataset(
    run_of, tiny_dataset, tmp_path
):
    """Files are not known to the configuration, so the run itself must refuse."""
    run = run_of("agc")
    large = run.training.model_copy(update={"batch_size": 500})
    message = r"arms\.agc on dataset 'tiny': training\.batch_size is 500, .* only 121 groups"
    with pytest.raises(InputError, match=message):
        train_run(
            run.model_copy(update={"training": large}),
            splits=tiny_dataset.splits,
            dataset=tiny_dataset.dataset,
            folder=tmp_path / "run",
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
    agc = train_tiny(folder="agc", arm="agc").run
    assert 0 < agc["clipped_share"] < 1


def test_a_dataset_with_another_checksum_is_refused_and_nothing_is_written(
    train_tiny, tiny_dataset, tmp_path
):
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
