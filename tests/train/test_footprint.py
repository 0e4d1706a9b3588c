"""Counting without computing: what is predicted equals what real tensors take, to the byte."""

import pytest
import torch

from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.train.cost.footprint import (
    LiveBytes,
    Workload,
    footprint,
    made_up_groups,
    made_up_module,
)
from ptycho_torch.train.schedule import make_optimizer


def workload(channels=1, validation=20):
    groups = {"train": 40, "validation": validation, "test": 20}
    reach = 3 if channels > 1 else 0
    return Workload(patch_px=16, channels=channels, groups=groups, reach_px=reach)


@pytest.mark.parametrize(
    ("name", "channels", "checkpointing"),
    [("hybrid", 1, False), ("layerscale_hybrid", 4, True), ("fno", 4, False)],
)
def test_a_step_on_real_tensors_takes_what_was_predicted(run_of, name, channels, checkpointing):
    run = run_of(generator={"name": name}, execution={"checkpointing": checkpointing})
    work = workload(channels)
    module = made_up_module(run, work)
    batch = made_up_groups(work, run.training.batch_size).take(slice(None))
    with LiveBytes(*module.parameters(), *module.buffers(), *batch) as live:
        loss = module.training_loss(batch)
        saved = live.live
        loss.backward()
    found = footprint(run, work)
    assert (found.step, found.saved) == (live.most, saved)
    assert found.weights == sum(4 * p.numel() for p in module.parameters())


def test_live_bytes_by_hand():
    """Three tensors of 4000 bytes, of which one is let go before the third is made."""
    weight = torch.zeros(1000)
    with LiveBytes(weight) as live:
        first = weight + 1
        view = weight.view(10, 100)[2:]
        second = first * 2
        assert (live.live, live.most) == (8000, 8000)
        del first
        third = second.view(-1) + second
        fourth = third + third
    assert live.most == 12000
    del second, third, fourth, view
    assert live.live == 0


def test_flops_by_hand(run_of):
    """The smallest fno: every product and transform counted, forward and backward."""
    side, width, modes, groups = 16, 4, 4, 8
    run = run_of(generator={"name": "fno", "width": width, "fno_blocks": 1, "modes": modes})
    pixels = groups * side * side
    # Forward 2 a weight and pixel; backward twice that, but for the first layer's input.
    lift = 2 * pixels * 9 * (2 * width + 3 * width * width)
    local_and_refine = 3 * 2 * pixels * 9 * (3 * width * width)
    head = 3 * 2 * pixels * width * 2
    # A complex product by real matrices: 2 x 2 as many.
    spectral = 3 * 2 * groups * modes * modes * (2 * width) * (2 * width)
    transform = 2.5 * groups * width * side**2 * 8
    counted = footprint(run, workload()).flops - (lift + local_and_refine + head + spectral)
    # There and back in the layer and in its backward pass, which is complex in part.
    assert 4 * transform < counted < 9 * transform


@pytest.mark.parametrize(
    "optimizer", [{"name": "adam"}, {"name": "sgd"}, {"name": "sgd", "momentum": 0.0}]
)
def test_optimisers_keep_what_was_predicted(run_of, optimizer):
    run = run_of(training={"optimizer": {"learning_rate": 1e-3, **optimizer}})
    weights = list(made_up_module(run, workload()).parameters())
    made = make_optimizer(run.training.optimizer, weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    made.step()
    kept = [t for state in made.state.values() for t in state.values() if torch.is_tensor(t)]
    assert footprint(run, workload()).optimizer == sum(4 * t.numel() for t in kept if t.ndim)


def test_memory_grows_with_batch_and_validation_and_checkpointing_lowers_it(run_of):
    def taken(batch, checkpointing=False, **sizes):
        run = run_of(training={"batch_size": batch}, execution={"checkpointing": checkpointing})
        return footprint(run, workload(**sizes))

    small, large, lean = taken(8), taken(16), taken(16, checkpointing=True)
    assert large.saved == pytest.approx(2 * small.saved, rel=0.01)
    assert large.step > 1.5 * small.step and large.weights == lean.weights
    assert lean.saved < 0.5 * large.saved and lean.step < large.step
    assert large.flops == 2 * small.flops < 2 * lean.flops
    # 64 groups are validated at once, or the whole split if it is smaller.
    few, many, more = (
        taken(8, validation=n).validation for n in (EVAL_BATCH // 2, EVAL_BATCH, 9 * EVAL_BATCH)
    )
    assert many == more and many - small.weights == 2 * (few - small.weights)
