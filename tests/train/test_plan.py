"""The cost of a study and of what was run: laws, numbers by hand, and one line for a mistake."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.cost import probe
from ptycho_torch.train.cost import study as cost
from ptycho_torch.train.cost.probe import Workload, count, workload_of

# Width 4, 2 blocks, 4 modes at N=16; 121 frames a split, in batches of 8.
SIZES = {"train": 121, "validation": 121, "test": 121}
FRAMES_MIB = 3 * 121 * 16 * 16 * 4 / 2**20


@pytest.fixture
def plan(monkeypatch, root, tmp_path):
    """Run `ptycho-torch plan` on a machine whose times are known; return its text and its JSON."""
    monkeypatch.setattr(cost, "process_peak", lambda: 300 * 2**20)
    monkeypatch.setattr(cost, "time", SimpleNamespace(process_time=lambda: 5.0))
    probed = []

    def measure(run, work, steps):
        probed.append(run.arm)
        return {"step": 0.5, "validation_batch": 0.25, "memory_mib": 100.0}

    monkeypatch.setattr(probe, "measure", measure)

    def run(*words):
        where = [] if "--compare" in words else ["--config", root / "tests" / "tiny.yaml"]
        words = ("plan", *where, "--output", tmp_path / "plan.json", *words)
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output, json.loads((tmp_path / "plan.json").read_text())

    run.probed = probed
    return run


def test_memory_and_times_of_an_arm_by_hand(plan):
    text, found = plan("--arm", "control", "--no-largest")
    (row,) = found["arms"]
    assert row["parameters"]["stored"] == 3758 and row["groups"] == SIZES
    # Eight epochs of 15 steps, as many validations and two predictions of 121 = 2 batches of 64.
    assert row["seconds"]["run"] == 5.0 + 8 * 15 * 0.5 + 8 * 2 * 0.25 + 2 * 2 * 0.25
    assert "70 s" in text
    # Interpreter and libraries, what the probe took, and the frames.
    assert row["memory_mib"]["peak"] == pytest.approx(300 + 100 + FRAMES_MIB)


def test_a_whole_study_counts_each_run_once(plan):
    _, found = plan("--no-largest", "--runs-at-once", 2)
    assert found["study"]["runs"] == sum(stage["new_runs"] for stage in found["stages"])
    assert found["study"]["seconds"] == found["study"]["runs"] * 70.0 / 2
    arms = [row["arm"] for row in found["arms"]]
    assert set(arms) >= {"control", "agc", "control-fno_blocks-3"}
    # Another bound of the same clipping, or another rate, takes the same and is not probed again.
    same = {arm for arm in arms if "max_ratio" in arm or "learning_rate" in arm}
    assert set(arms) - set(plan.probed) == same and len(arms) - len(same) == len(plan.probed)


def test_the_largest_batch_that_fits_has_a_neighbour_that_does_not(plan, run_of, tiny_study):
    """The probe's 100 MiB grow as what can be counted does."""
    work = workload_of(tiny_study.datasets["tiny"])

    def counted(batch):
        found = count(run_of(training={"batch_size": batch}), work)
        return found["weights"] + found["saved"]

    gib = (300 + FRAMES_MIB + 100 * counted(45) / counted(8)) / 1024
    for memory, largest in ((gib * 1.001, 45), (gib * 0.999, 44)):
        (row,) = plan("--arm", "control", "--memory-gib", memory)[1]["arms"]
        assert row["largest_batch"] == largest


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arm", "agcc"], "there is no arm 'agcc'; did you mean 'agc'"),
        (["--arm", "control", "--patch-px", "200"], "--patch-px, --gridsize: no patch fits"),
        (["--arm", "control", "--batch-size", "500"], "has only 121 groups"),
        (["--compare", "nowhere"], "nowhere: has no run.json below train/"),
    ],
)
def test_a_mistake_is_one_line(plan, words, message):
    with pytest.raises(InputError, match=message) as error:
        plan(*words)
    assert "\n" not in str(error.value)


def test_a_comparison_is_of_medians(plan, run_of, tiny_dataset, tmp_path):
    facts = tmp_path / "simulate/tiny/dataset.json"
    facts.parent.mkdir(parents=True)
    facts.write_text(tiny_dataset.dataset.read_text())
    for seed, (wall_s, memory) in enumerate([(32.0, 400.0), (8.0, 350.0), (32.0, 9000.0)]):
        folder = tmp_path / f"train/tiny/control/seed-{seed}"
        folder.mkdir(parents=True)
        settings = run_of(seed=seed).model_dump(mode="json")
        io.write_json(folder / "run.json", {"settings": settings, "steps": 30, "epochs": 2})
        timing = {"wall_s": wall_s, "peak_memory_mib": memory, "threads": 1, "device": "cpu"}
        io.write_json(folder / "timing.json", timing)
    text, found = plan("--compare", tmp_path)
    (row,) = found["arms"]
    predicted = pytest.approx(400 + FRAMES_MIB)
    assert row["memory_mib"] == {"predicted": predicted, "measured": 400.0}
    # 30 steps, and two validations of 2 batches: 16 s, half of what was measured.
    assert row["wall_s"] == {"predicted": 30 * 0.5 + 2 * 2 * 0.25, "measured": 32.0}
    assert "0.500" in text
