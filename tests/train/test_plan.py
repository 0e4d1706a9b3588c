"""The cost of a study: laws, numbers by hand, and one line for a mistake."""

import json
from types import SimpleNamespace

import pytest
from tests.commands import call

from ptycho_torch.train.cost import probe
from ptycho_torch.train.cost import study as cost
from ptycho_torch.train.cost.probe import Workload

PACE = {"step": 0.5, "validation_batch": 0.25, "memory_mib": 100.0}
SIZES = {"train": 121, "validation": 121, "test": 121}


@pytest.fixture
def plan(monkeypatch, root, tmp_path):
    """Run `ptycho-torch plan` on a machine whose times are known; return its text and its JSON."""
    monkeypatch.setattr(cost, "process_peak", lambda: 300 * 2**20)
    monkeypatch.setattr(cost, "time", SimpleNamespace(process_time=lambda: 5.0))
    probed = []

    def measure(run, work, steps):
        probed.append(run.arm)
        return dict(PACE)

    monkeypatch.setattr(probe, "measure", measure)

    output = tmp_path / "plan.json"

    def run(*words):
        said = call("plan", "--config", root / "tests/tiny.yaml", "--output", output, *words)
        return said, json.loads(output.read_text())

    run.probed = probed
    return run


def test_memory_and_times_of_an_arm_by_hand(plan):
    """Width 4, 2 blocks, 4 modes at N=16; 121 frames in batches of 8."""
    text, found = plan("--arm", "control")
    (row,) = found["arms"]
    assert row["parameters"]["stored"] == 3758
    assert row["groups"] == SIZES
    # Eight epochs of 15 steps, as many validations and two predictions of 121 = 2 batches of 64.
    assert row["seconds"]["run"] == 5.0 + 8 * 15 * 0.5 + 8 * 2 * 0.25 + 2 * 2 * 0.25
    assert "70 s" in text
    # Interpreter and libraries, what the probe took, and the frames.
    data = 3 * 121 * 16 * 16 * 4 / 2**20
    assert row["memory_mib"]["peak"] == pytest.approx(300 + 100 + data)


def test_a_whole_study_counts_each_run_once(plan, root, tmp_path):
    _, found = plan("--runs-at-once", 2)
    assert found["study"]["runs"] == sum(stage["new_runs"] for stage in found["stages"])
    assert found["study"]["seconds"] == found["study"]["runs"] * 70.0 / 2
    # A job of several seeds starts once: in 5 s of the 70.
    many = tmp_path / "many.yaml"
    many.write_text((root / "tests" / "tiny.yaml").read_text() + "\nseeds_per_job: 50\n")
    arms = [row["arm"] for row in found["arms"]]
    _, together = plan("--runs-at-once", 2, "--config", many)
    work_s = found["study"]["runs"] * 65.0 + len(arms) * 5.0
    assert together["study"]["seconds"] == work_s / 2
    assert set(arms) >= {"control", "agc", "control-fno_blocks-3"}
    # Another bound of the same clipping, or another rate, takes the same and is not probed again.
    same = {arm for arm in arms if "max_ratio" in arm or "learning_rate" in arm}
    assert set(arms) - set(plan.probed) == same and len(arms) - len(same) == len(plan.probed) // 2


def test_what_was_not_probed_has_no_memory_and_no_times(plan, monkeypatch):
    text, found = plan("--arm", "control", "--probe-steps", 0)
    assert "Not probed: no memory and no times" in text and not plan.probed
    monkeypatch.setattr(probe, "measure", lambda *_: None)
    text, (row,) = (found := plan("--arm", "control"))[0], found[1]["arms"]
    assert "Memory ran out in the probe of: control on tiny." in text
    assert row["memory_mib"] is row["seconds"] is None


def test_the_steps_of_a_probe_are_those_of_a_training(run_of, monkeypatch):
    """Real steps, of the run's own clipping, batch and merging; the first is not timed."""
    clock, batches, fit = iter(range(1000)), [], probe.fit

    def seen(module, train, validation):
        batches.append((module.run, len(train), len(validation)))
        return fit(module, train, validation)

    # Steps begin at 0, 1, 4, 9, 16, 25: without the first 3, 5, 7, 9.
    monkeypatch.setattr(probe, "_now", lambda: float(next(clock)) ** 2)
    monkeypatch.setattr(probe, "fit", seen)
    run = run_of("agc", execution={"checkpointing": True, "precision": "bf16"})
    work = Workload(patch_px=16, channels=4, groups=SIZES, reach_px=3)
    found = probe.train_on_noise(run, work, steps=4)
    assert (found["step"], found["validation_batch"]) == (6, 49 - 36)
    ((trained, frames, checks),) = batches
    assert (frames, checks) == (6 * run.training.batch_size, 64)
    assert trained.execution == run.execution and trained.generator == run.generator
