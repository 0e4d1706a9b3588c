"""A training that was stopped goes on from its last epoch and ends with the same bytes."""

import json
import logging
import signal
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptycho_torch.config import InputError
from ptycho_torch.config.read import parse_study
from ptycho_torch.dataset_file import read_split
from ptycho_torch.io_state import read_state, write_state
from ptycho_torch.measurements.batch import groups_of_split
from ptycho_torch.streams import named_stream
from ptycho_torch.train import resume
from ptycho_torch.train.fit import build_module
from ptycho_torch.train.loop import fit_seeds
from ptycho_torch.train.module import FitModule

EPOCHS, STEPS = 4, 15
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


class Killed(BaseException):
    """Stands for whatever ends a process in the middle of a step."""


@pytest.fixture
def training(tiny, tiny_dataset, tmp_path, monkeypatch):
    """Train seeds; with `until`, so many steps of all of them and no more."""
    monkeypatch.setattr(resume, "SHARE", float("inf"))
    train, validation = (
        read_split(tiny_dataset.splits[s], patch_px=16) for s in ("train", "validation")
    )
    groups = groups_of_split(train), groups_of_split(validation)
    plain = FitModule.training_loss

    def run(*, seeds=(0,), until=None, planted=lambda *_: 1.0, keep=None, **blocks):
        data = {**tiny}
        for block, changes in blocks.items():
            data[block] = {**data[block], **changes}
        data["training"] = {**data["training"], "epochs": EPOCHS}
        study = parse_study(data, "tiny.yaml")
        calls = []

        def counted(self, *rest):
            if until is not None and len(calls) >= until * len(seeds):
                raise Killed
            calls.append(1)
            return plain(self, *rest) * planted(self, -(-len(calls) // len(seeds)))

        monkeypatch.setattr(FitModule, "training_loss", counted)
        modules = [build_module(study.run("tiny", "control", s), train, validation) for s in seeds]
        found = fit_seeds(modules, *groups, keep=keep)
        return found, len(calls) // len(seeds)

    return run


def same(one, other):
    """Compare everything that results are made of, bit by bit."""
    for weights, others in ((one.best, other.best), (one.last, other.last)):
        assert weights.weights.keys() == others.weights.keys()
        assert all(torch.equal(v, others.weights[k]) for k, v in weights.weights.items())
        assert weights.gain == others.gain
    mine, theirs = one.history, other.history
    assert json.dumps(mine.rows) == json.dumps(theirs.rows)
    assert mine.best_row == theirs.best_row
    assert mine.norms_before == theirs.norms_before
    assert (mine.parts, mine.clipped) == (theirs.parts, theirs.clipped)
    for name in ("stopped", "steps", "first_loss", "spikes"):
        assert getattr(one, name) == getattr(other, name), name
    return True


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


def test_a_state_of_another_training_or_a_damaged_one_is_said_and_left(
    training, tmp_path, caplog, monkeypatch
):
    keep = tmp_path / "resume.safetensors"
    with pytest.raises(Killed):
        training(keep=keep, until=2 * STEPS + 1)
    kept = keep.read_bytes()

    def begins_anew(reason, **blocks):
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises(Killed):
            training(keep=keep, until=1, **blocks)
        (said,) = [r.getMessage() for r in caplog.records]
        assert reason in said and said.endswith("training begins anew") and "\n" not in said
        keep.write_bytes(kept)

    begins_anew("(settings differ)", training={"batch_size": 7})
    begins_anew("(settings differ)", seeds=(1,))
    begins_anew("(settings differ)", seeds=(0, 1))
    for key, other in (("data", "0" * 64), ("code", "0" * 64), ("torch", "1.0")):
        state = read_state(keep)
        state["identity"][key] = other
        write_state(keep, state)
        begins_anew(f"({key} differ)")
    state = read_state(keep)
    write_state(keep, {**state, "format": "another"})
    begins_anew("format is 'another'")
    keep.write_bytes(kept[:-100])
    begins_anew("is not a whole state of a training")
    save_file(load_file(keep), keep)
    begins_anew("was changed after it was written")
    for at in named_stream(7, "bytes").integers(8, len(kept), 5):
        keep.write_bytes(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :])
        begins_anew(str(keep))


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


def without(path):
    """What takes a key out of a state, by its path."""

    def change(state):
        *folders, last = path.split("/")
        for folder in folders:
            state = state[folder]
        del state[last]

    return change


def other(path, value):
    """What puts another value, or another form of the tensor, in a state's place."""

    def change(state):
        *folders, last = path.split("/")
        for folder in folders:
            state = state[folder]
        state[last] = value(state[last]) if callable(value) else value

    return change


FORGED = {
    "no rate": (without("learners/0/rate"), "rate"),
    "no first loss": (without("learners/0/watch/first_loss"), "first_loss"),
    "no weight": (without("learners/0/network/lift.first.weight"), "other tensors"),
    "no learner": (without("learners/0"), "learners: has 0, not 1"),
    "no wall time": (without("wall_s"), "wall_s"),
    "a text for a count": (other("sittings", "1"), "sittings"),
    "no finite rate": (other("learners/0/rate", float("nan")), "rate"),
    "another key": (other("learners", lambda them: {**them, "1": deepcopy(them["0"])}), "learners: has 2"),
    "a weight of another shape": (
        other("learners/0/network/lift.first.weight", torch.Tensor.flatten), "network.lift.first.weight is",
    ),
    "a best weight of another type": (
        other("learners/0/history/best/lift.first.weight", torch.Tensor.double), "history.best.lift",
    ),
    "a moment of another shape": (
        other("learners/0/optimizer/0/exp_avg", lambda old: old[:1].clone()), "optimizer exp_avg",
    ),
    "no second moment": (without("learners/0/optimizer/0/exp_avg_sq"), "optimizer has exp_avg, s"),
    "the watch's counter as a list": (
        other("learners/0/watch/in_a_row", lambda old: old.repeat(3)), "watch.in_a_row is",
    ),
    "a schedule that is not set": (other("learners/0/schedule", {"gamma": 0.5}), "schedule"),
    "a row too few": (other("learners/0/history/rows", lambda rows: rows[:1]), "rows"),
    "a row without its loss": (
        other("learners/0/history/rows", lambda rows: [{"epoch": r["epoch"]} for r in rows]), "loss"
    ),
    "the best epoch behind the last": (other("learners/0/history/best_epoch", 9), "epoch is 9"),
    "no best weights": (other("learners/0/history/best", None), "best"),
    "norms as a table": (
        other("learners/0/history/norms_before", lambda old: old[None].clone()), "norms_before",
    ),
}  # fmt: skip


def test_a_state_that_no_training_wrote_is_not_taken_up(training, tmp_path, caplog):
    """Signed as it ought to be; nothing of it reaches the training, which begins anew."""
    keep = tmp_path / "resume.safetensors"
    with pytest.raises(Killed):
        training(keep=keep, until=2 * STEPS + 1)
    kept = keep.read_bytes()
    for name, (change, word) in FORGED.items():
        keep.write_bytes(kept)
        state = read_state(keep)
        change(state)
        write_state(keep, state)
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises(Killed):
            training(keep=keep, until=1)
        (said,) = [r.getMessage() for r in caplog.records]
        assert str(keep) in said and word in said, name
        assert said.endswith("training begins anew") and said.isprintable(), name
    (found,), steps = training(keep=keep)
    assert steps == EPOCHS * STEPS
    (whole,), _ = training()
    assert same(whole, found)


def test_a_state_that_is_far_too_large_is_not_read(training, tmp_path, caplog):
    """A sparse file; nothing is asked of the memory."""
    keep = tmp_path / "resume.safetensors"
    with keep.open("wb") as file:
        file.truncate(2**40)
    with caplog.at_level(logging.WARNING), pytest.raises(Killed):
        training(keep=keep, until=1)
    (said,) = [r.getMessage() for r in caplog.records]
    assert "has 1099511627776 bytes; at most" in said and said.endswith("training begins anew")
