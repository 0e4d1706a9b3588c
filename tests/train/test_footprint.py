"""What a step takes: counted by hand, and measured as a job of its own does it."""

import pytest

from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.train.cost import probe
from ptycho_torch.train.cost.probe import MIB, Workload, count, measure, train_on_noise


def workload(channels=1, patch_px=16):
    groups = {"train": 40, "validation": 20, "test": 20}
    reach = 3 if channels > 1 else 0
    return Workload(patch_px=patch_px, channels=channels, groups=groups, reach_px=reach)


def test_flops_by_hand(run_of):
    """The smallest fno: every product counted, forward and backward."""
    side, width, modes, groups = 16, 4, 4, 8
    run = run_of(generator={"name": "fno", "width": width, "fno_blocks": 1, "modes": modes})
    pixels = groups * side * side
    # Forward 2 a weight and pixel; backward twice that, but for the first layer's input.
    lift = 2 * pixels * 9 * (2 * width + 3 * width * width)
    local_and_refine = 3 * 2 * pixels * 9 * (3 * width * width)
    point_by_point = 3 * 2 * pixels * width * (width + 2)
    # A complex product by real matrices: 2 x 2 as many.
    spectral = 3 * 2 * groups * modes * modes * (2 * width) * (2 * width)
    # 2R x H on the rows, 2K x 2W on the columns, there and back, and backwards.
    rows, columns = 2 * modes * side * side, 2 * modes * 2 * side * modes
    transform = 2 * 2 * 2 * groups * width * (rows + columns)
    by_hand = lift + local_and_refine + point_by_point + spectral + transform
    assert count(run, workload())["flops_per_step"] == by_hand


def test_what_is_saved_grows_with_the_batch_and_checkpointing_saves_less_and_computes_more(run_of):
    def taken(batch, **execution):
        return count(run_of(training={"batch_size": batch}, execution=execution), workload())

    small, large, lean = taken(8), taken(16), taken(16, checkpointing=True)
    assert large["saved"] == pytest.approx(2 * small["saved"], rel=0.01)
    assert lean["saved"] < 0.5 * large["saved"] and large["weights"] == lean["weights"]
    assert large["flops_per_step"] == 2 * small["flops_per_step"] < 2 * lean["flops_per_step"]


@pytest.mark.parametrize(
    ("channels", "execution", "training"),
    [
        (1, {"clip": {"gradient_clip_algorithm": "agc", "max_ratio": 0.02}}, {}),
        (4, {"checkpointing": True, "precision": "bf16"}, {"intensity_scale": "learned"}),
    ],
)
def test_the_steps_of_a_probe_are_those_of_a_training(
    run_of, monkeypatch, channels, execution, training
):
    """Real steps, of the run's own clipping, batch and merging; the first is not timed."""
    clock, batches = iter(range(1000)), []
    monkeypatch.setattr(probe, "_now", lambda: float(next(clock)) ** 2)

    def fit(module, train, validation):
        batches.append((module.run, len(train), len(validation)))
        return original(module, train, validation)

    original = probe.fit
    monkeypatch.setattr(probe, "fit", fit)
    run = run_of(execution=execution, training=training)
    found = train_on_noise(run, workload(channels), steps=4)
    ((seen, frames, checks),) = batches
    assert (frames, checks) == (6 * run.training.batch_size, 20)
    assert seen.execution == run.execution and seen.generator == run.generator
    # Steps begin at 0, 1, 4, 9, 16, 25: without the first 3, 5, 7, 9.
    assert (found["step"], found["validation_batch"]) == (6, 49 - 36)


def test_memory_is_measured_in_a_process_of_its_own(run_of):
    """Weights, gradients, moments and copies of 30 MiB cannot hide in what libraries take, nor do
    they stay behind here."""
    run = run_of(generator={"width": 64, "modes": 8})
    before, least = process_peak(), count(run, workload())
    found = measure(run, workload(), steps=2)
    assert found["memory_mib"] > least["weights"] + least["saved"] > 25
    assert process_peak() - before < found["memory_mib"] * MIB / 2
    assert found["step"] > 0 and found["validation_batch"] > 0
