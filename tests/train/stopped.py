"""A training that can be ended inside any step, and whether two ended alike."""

import json

import torch

EPOCHS, STEPS = 4, 15


class Killed(BaseException):
    """Stands for whatever ends a process in the middle of a step."""


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
