"""A training that was stopped goes on from its last epoch and ends with the same bytes."""

import signal

import pytest
import torch
from stopped import EPOCHS, STEPS, Killed, same

from ptycho_torch.files.state import read_state, write_state
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.train import resume

SGD = {"name": "sgd", "learning_rate": 1e-2}
ADAMW = {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01}
COSINE = {"name": "warmup_cosine", "warmup_epochs": 1.5}
PLATEAU = {"name": "plateau", "factor": 0.5, "patience_epochs": 1}
CASES = {
    "adam": ({}, {"gradient_clip_algorithm": "none"}),
    "adamw, cosine, learned scale": (
        {"optimizer": ADAMW, "schedule": COSINE, "intensity_scale": "learned"},
        {"gradient_clip_algorithm": "norm", "max_norm": 0.5},
    ),
    "sgd, exponential": (
        {"optimizer": SGD, "schedule": {"name": "exponential", "gamma": 0.7}},
        {"gradient_clip_algorithm": "agc", "max_ratio": 0.02},
    ),
    # A rate this large makes the loss rise, so that the plateau is met.
    "plateau, poisson": (
        {"optimizer": {"name": "adam", "learning_rate": 0.03}, "schedule": PLATEAU,
         "loss": "poisson", "collapse_variance": None},
        {"gradient_clip_algorithm": "value", "max_value": 0.01},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_stopped_training_ends_with_the_same_bytes(training, tmp_path, name):
    """Stopped twice at random steps."""
    changes, clip = CASES[name]
    blocks = {"training": changes, "execution": {"clip": clip}}
    (whole,), _ = training(**blocks)
    stops = named_stream(7, "stops", name).integers(1, EPOCHS * STEPS, 2)
    keep = tmp_path / "resume.safetensors"
    for until in sorted(stops):
        before = read_state(keep)["epochs"] if keep.exists() else 0
        with pytest.raises(Killed):
            training(**blocks, keep=keep, until=until - before * STEPS)
    done = read_state(keep)["epochs"]
    assert done == max(stops) // STEPS
    (found,), steps = training(**blocks, keep=keep)
    assert steps == (EPOCHS - done) * STEPS
    # A sitting that finished no epoch leaves nothing, not even that it was.
    assert found.sittings == 1 + len({stop // STEPS for stop in stops} - {0})
    assert same(found, whole)
    if "plateau" in name:
        assert len({row["learning_rate"] for row in found.history.rows}) > 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_its_last_epoch_kept(
    training, tmp_path, monkeypatch, number, status
):
    """Writing is thought to be dear, so that of the first two epochs only one is kept without it."""

    def planted(_, step):
        if step == 2 * STEPS + 5:
            signal.raise_signal(number)
        return 1.0

    (whole,), _ = training()
    monkeypatch.setattr(resume, "SHARE", 1e-9)
    keep = tmp_path / "resume.safetensors"
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        training(planted=planted, keep=keep)
    assert ended.value.code == status and signal.getsignal(number) is before
    assert read_state(keep)["epochs"] == 2
    (found,), steps = training(keep=keep)
    assert steps == (EPOCHS - 2) * STEPS and same(found, whole)


def test_seeds_together_each_have_their_state_also_one_that_failed(training, tmp_path):
    """Seed 1's loss is NaN from the 20th step on, in the second epoch."""

    def planted(module, step):
        return float("nan") if module.run.seed == 1 and step >= 20 else 1.0

    seeds, keep = (0, 1, 2), tmp_path / "resume.safetensors"
    whole, _ = training(seeds=seeds, planted=planted)
    assert whole[1].stopped.step == 20 and whole[0].stopped is None
    with pytest.raises(Killed):
        training(seeds=seeds, planted=planted, keep=keep, until=40)
    found, _ = training(seeds=seeds, keep=keep)
    assert all(map(same, found, whole))


def test_spikes_and_collapse_are_counted_across_a_stop(training, tmp_path):
    """Steps 13 to 22 are too large; an epoch ends after the 15th, and the run with the 10th."""

    def planted(_, step):
        return 1e3 if step >= 13 else 1.0

    keep = tmp_path / "resume.safetensors"
    (whole,), _ = training(planted=planted)
    assert (whole.stopped.outcome, whole.stopped.step, whole.spikes) == ("exploded", 13, 10)
    with pytest.raises(Killed):
        training(planted=planted, keep=keep, until=18)
    (found,), _ = training(planted=lambda *_: 1e3, keep=keep)
    assert same(found, whole)
    # Every patch is under this bound: the third epoch in a row ends the run.
    flat = {"training": {"collapse_variance": 0.9}}
    (whole,), _ = training(**flat)
    assert whole.stopped.outcome == "collapsed" and len(whole.history.rows) == 3
    keep.unlink()
    with pytest.raises(Killed):
        training(**flat, keep=keep, until=2 * STEPS + 3)
    (found,), _ = training(**flat, keep=keep)
    assert same(found, whole)


def test_a_state_is_read_back_as_it_was_written(tmp_path):
    state = {
        "a": {"x": torch.tensor([1.5, float("nan")]), "deep": {"y": torch.tensor(3)}, "none": None},
        "list": [{"b": 1}, 0.1, float("inf")],
    }
    write_state(tmp_path / "state", state)
    found = read_state(tmp_path / "state")
    assert torch.equal(found["a"]["x"].nan_to_num(), state["a"]["x"].nan_to_num())
    assert found["a"]["deep"]["y"] == 3 and found["a"]["none"] is None
    assert found["list"] == state["list"]
    with pytest.raises(InputError, match="cannot be read"):
        read_state(tmp_path / "missing")
