"""A state that is damaged, another training's or nobody's is said and left, whole."""

import logging
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file, save_file
from stopped import EPOCHS, STEPS, Killed, same

from ptycho_torch.files.state import read_state, write_state
from ptycho_torch.runtime.streams import named_stream


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
    "empty best weights": (other("learners/0/history/best", {}), "history.best has other tensors"),
    "another optimiser's": (
        other("learners/0/optimizer/0", lambda kept: {"momentum_buffer": kept["exp_avg"]}),
        "optimizer has momentum_buffer",
    ),
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
