"""Counting without computing: what is predicted equals what real tensors take, to the byte."""

import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.train.cost.footprint import SavedBytes, Walk, footprint, training_loss
from ptycho_torch.train.cost.workload import Workload, made_up_groups, made_up_module
from ptycho_torch.train.schedule import make_optimizer


def run_of(tiny, **blocks):
    for block, changes in blocks.items():
        tiny[block] = {**tiny[block], **changes}
    return run_settings(parse_study(tiny, "tiny.yaml"), "tiny", "control", 0)


def workload(channels=1, **sizes):
    groups = {"train": 40, "validation": 20, "test": 20}
    reach = 3 if channels > 1 else 0
    return Workload(
        **{"patch_px": 16, "channels": channels, "groups": groups, "reach_px": reach} | sizes
    )


@pytest.mark.parametrize(
    ("name", "width", "channels", "checkpointing"),
    [
        ("hybrid", 6, 1, False), ("hybrid", 6, 4, True), ("stable_hybrid", 6, 1, True),
        ("layerscale_hybrid", 6, 4, False), ("fno", 6, 1, True), ("fno", 6, 4, False),
        # Wide enough for the CPU's own convolution, which keeps copies.
        ("hybrid", 64, 1, False), ("fno", 64, 1, False),
    ],
)  # fmt: skip
def test_a_step_on_real_tensors_takes_what_was_predicted(
    tiny, name, width, channels, checkpointing
):
    generator = {"name": name, "width": width}
    run = run_of(tiny, generator=generator, execution={"checkpointing": checkpointing})
    work = workload(channels)
    module = made_up_module(run, work)
    batch = made_up_groups(work, run.training.batch_size).take(slice(None))
    live, saved = Walk(), SavedBytes(module)
    live.known(*module.parameters(), *module.buffers(), *(t for t in batch if t is not None))
    with live:
        with saved:
            loss = training_loss(module, batch)
        loss.backward()
    found = footprint(run, work)
    assert (found.step, found.saved) == (live.most, saved.total)
    assert found.weights == sum(4 * p.numel() for p in module.parameters())


def test_live_bytes_by_hand():
    """Three tensors of 4000 bytes, of which one is let go before the third is made."""
    weight = torch.zeros(1000)
    live = Walk()
    live.known(weight)
    with live:
        first = weight + 1
        view = weight.view(10, 100)[2:]
        second = first * 2
        assert (live.live, live.most) == (8000, 8000)
        del first
        third = second.view(-1) + second
        assert (live.live, live.most) == (8000, 8000)
        fourth = third + third
    assert live.most == 12000
    del second, third, fourth, view
    assert live.live == 0


def test_saved_bytes_by_hand():
    """The product keeps both factors, one of them a weight; the same tensor twice counts once."""
    module = torch.nn.Linear(10, 10, bias=False)
    x = torch.rand(5, 10, requires_grad=True)
    saved = SavedBytes(module)
    with saved:
        y = module(x)
        kept = y * y
    assert saved.total == 4 * (50 + 50)
    assert kept.shape == (5, 10)


def test_flops_by_hand(tiny):
    """One 1x1 head, one refiner ... of the smallest fno: every product and transform counted."""
    side, width, modes, groups = 16, 4, 4, 8
    run = run_of(tiny, generator={"name": "fno", "width": width, "fno_blocks": 1, "modes": modes})
    found = footprint(run, workload())
    pixels = groups * side * side
    # Forward 2 a weight and pixel; backward twice that, but for the first layer's input.
    lift = 2 * pixels * 9 * (2 * width + 3 * width * width)
    local_and_refine = 3 * 2 * pixels * 9 * (3 * width * width)
    head = 3 * 2 * pixels * width * 2
    # A complex product by real matrices: 2 x 2 as many.
    spectral = 3 * 2 * groups * modes * modes * (2 * width) * (2 * width)
    transform = 2.5 * groups * width * side**2 * 8
    # Forward and back again in the layer, and the same in its backward pass, which is complex
    # where the forward pass had a real input or output.
    assert found.flops > lift + local_and_refine + head + spectral + 4 * transform
    assert found.flops < lift + local_and_refine + head + spectral + 9 * transform


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "adam", "learning_rate": 1e-3},
        {"name": "sgd", "learning_rate": 1e-3},
        {"name": "sgd", "learning_rate": 1e-3, "momentum": 0.0},
    ],
)
def test_optimisers_keep_what_was_predicted(tiny, optimizer):
    run = run_of(tiny, training={"optimizer": optimizer})
    module = made_up_module(run, workload())
    weights = list(module.parameters())
    made = make_optimizer(run.training.optimizer, weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    made.step()
    kept = [t for state in made.state.values() for t in state.values() if torch.is_tensor(t)]
    assert footprint(run, workload()).optimizer == sum(4 * t.numel() for t in kept if t.ndim)


def test_memory_grows_with_the_batch_and_checkpointing_lowers_it(tiny):
    def taken(batch, checkpointing=False):
        blocks = {"training": {"batch_size": batch}, "execution": {"checkpointing": checkpointing}}
        return footprint(run_of(tiny, **blocks), workload())

    small, large, lean = taken(8), taken(16), taken(16, checkpointing=True)
    assert large.saved == 2 * small.saved and large.step > 1.5 * small.step
    assert lean.saved < 0.5 * large.saved and lean.step < large.step
    assert large.flops == 2 * small.flops < 2 * lean.flops
    assert large.weights == lean.weights and large.parameters == lean.parameters


def test_validation_is_counted_at_its_own_batch(tiny):
    """64 groups, or the whole split if it is smaller; nothing is kept for a backward pass."""
    run = run_of(tiny)
    few, many, more = (
        footprint(run, workload(groups={"train": 40, "validation": n, "test": 20}))
        for n in (EVAL_BATCH // 2, EVAL_BATCH, 9 * EVAL_BATCH)
    )
    assert many.validation == more.validation
    assert many.validation - many.weights == 2 * (few.validation - few.weights)
