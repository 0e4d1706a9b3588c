"""The cost of a study and of what was run: laws, numbers by hand, and one line for a mistake."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.cost import run_cost
from ptycho_torch.train.cost.footprint import (
    Footprint,
    Workload,
    footprint,
    job_memory,
    workload_of,
)
from ptycho_torch.train.cost.run_cost import free_memory, largest

BASE = {"memory_mib": 300.0, "start_s": 5.0}
PACE = {"step": 0.5, "validation_batch": 0.25}
SIZES = {"train": 121, "validation": 121, "test": 121}
CONTROL = ("--arm", "control", "--no-probe", "--no-largest")


@pytest.fixture
def plan(monkeypatch, root, tmp_path):
    """Run `ptycho-torch plan` on a machine whose times are known; return its text and its JSON."""
    monkeypatch.setattr(run_cost, "measure_base", lambda: BASE)
    monkeypatch.setattr(run_cost, "probe", lambda run, work, *, steps: PACE)

    def run(*words, config=root / "tests" / "tiny.yaml", output=tmp_path / "plan.json"):
        where = [] if "--compare" in words else ["--config", config]
        words = ("plan", *where, "--output", output, *words)
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output, json.loads(output.read_text())

    return run


def test_parameters_flops_and_times_of_an_arm_by_hand(plan):
    """Width 4, 2 blocks, 4 modes at N=16: weights layer by layer; 121 frames in batches of 8."""
    text, found = plan("--arm", "control", "--no-largest")
    (row,) = found["arms"]
    lift = (9 * 4 + 4) + (9 * 16 + 4)
    levels = (4 * 4 * 16 + 9 * 16 + 4) + (4 * 4 * 64 + 9 * 64 + 8)
    bottleneck = 2 * 2 * 64 + 9 * 64 + 8
    down, up = 4 * 4 * 8 + 8, (4 * 8 * 4 + 4) + (9 * 8 * 4 + 4) + (9 * 16 + 4)
    assert row["parameters"]["stored"] == lift + levels + bottleneck + down + up + (4 * 2 + 2)
    assert row["groups"] == SIZES and row["steps_per_epoch"] == 15
    # Eight epochs of 15 steps, as many validations and two predictions of 121 = 2 batches of 64.
    assert row["seconds"]["run"] == 5.0 + 8 * 15 * 0.5 + 8 * 2 * 0.25 + 2 * 2 * 0.25
    assert "70 s" in text and "Not counted" not in text


def test_a_whole_study_counts_each_run_once(plan):
    _, found = plan("--no-largest", "--runs-at-once", 2)
    assert found["study"]["runs"] == sum(stage["new_runs"] for stage in found["stages"])
    assert found["study"]["seconds"] == found["study"]["runs"] * 70.0 / 2
    assert {row["arm"] for row in found["arms"]} >= {"control", "agc", "control-fno_blocks-3"}


def test_what_is_tried_is_what_is_counted(plan):
    tried = ("--gridsize", 2, "--patch-px", 32, "--blocks", 3, "--checkpointing")
    (row,) = plan(*CONTROL, *tried)[1]["arms"]
    assert (row["channels"], row["patch_px"], row["generator"]["fno_blocks"]) == (4, 32, 3)
    assert row["checkpointing"] and row["seconds"] is None


def test_a_plan_is_written_over_a_plan_and_not_over_a_study(plan, tmp_path, root):
    study, text = tmp_path / "study.yaml", (root / "tests" / "tiny.yaml").read_bytes()
    study.write_bytes(text)
    with pytest.raises(InputError, match="is there already and is no plan"):
        plan(*CONTROL, output=study)
    assert study.read_bytes() == text
    for _ in range(2):
        plan(*CONTROL)


def test_what_is_not_counted_is_said(plan, tiny, tmp_path):
    tiny["execution"] |= {"accelerator": "auto", "precision": "bf16"}
    tiny["execution"] |= {"compile": True, "cuda_graphs": True}
    path = tmp_path / "study.json"
    path.write_text(json.dumps(tiny))
    text, _ = plan(*CONTROL, config=path)
    for key in ("precision bf16", "compile", "cuda_graphs"):
        assert f"Not counted: execution.{key}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arm", "agcc"], "there is no arm 'agcc'; did you mean 'agc'"),
        (["--dataset", "tyni"], "there is no dataset 'tyni'; it has: tiny"),
        (["--arm", "control", "--patch-px", "200"], "--patch-px, --gridsize: no patch fits"),
        (["--arm", "control", "--batch-size", "500"], "has only 121 groups"),
        (["--memory-gib", "nan"], "--memory-gib: Input should be"),
        (["--compare", "nowhere"], "nowhere: has no run.json below train/"),
        (["--compare", "nowhere", "--width", "8"], "leave out what chooses or changes"),
    ],
)
def test_a_mistake_is_one_line(plan, words, message):
    with pytest.raises(InputError, match=message) as error:
        plan(*words)
    assert "\n" not in str(error.value)


@pytest.fixture
def results(run_of, tiny_dataset, tmp_path):
    """Write runs of the control whose memory and time are known; return their folder."""
    facts = tmp_path / "simulate" / "tiny" / "dataset.json"
    facts.parent.mkdir(parents=True)
    facts.write_text(tiny_dataset.dataset.read_text())

    def write(*timings):
        for seed, timing in enumerate(timings):
            folder = tmp_path / "train" / "tiny" / "control" / f"seed-{seed}"
            folder.mkdir(parents=True)
            settings = run_of(seed=seed).model_dump(mode="json")
            io.write_json(folder / "run.json", {"settings": settings, "steps": 30, "epochs": 2})
            known = {"wall_s": 32.0, "peak_memory_mib": 400.0, "threads": 1, "device": "cpu"}
            io.write_json(folder / "timing.json", known | timing)
        return tmp_path

    return write


def test_a_comparison_is_of_medians(plan, results, run_of, tiny_study):
    folder = results({}, {"wall_s": 8.0, "peak_memory_mib": 350.0}, {"peak_memory_mib": 9000.0})
    text, found = plan("--compare", folder)
    (row,) = found["arms"]
    work = workload_of(tiny_study.datasets["tiny"])
    expected = job_memory(footprint(run_of(), work), work, 300.0)["peak"]
    assert row["memory_mib"] == {"predicted": pytest.approx(expected), "measured": 400.0}
    # 30 steps, and two validations of 2 batches: 16 s, half of what was measured.
    assert row["wall_s"] == {"predicted": 30 * 0.5 + 2 * 2 * 0.25, "measured": 32.0}
    assert "0.500" in text


def test_what_cannot_be_compared_is_named(plan, results):
    folder = results({"device": "NVIDIA H200"})
    assert "control on tiny: trained on NVIDIA H200" in plan("--compare", folder)[0]
    timing = folder / "train/tiny/control/seed-0/timing.json"
    io.write_json(timing, {"device": "cpu"})
    with pytest.raises(InputError, match=r"control on tiny is of another version \(no 'threads'"):
        plan("--compare", folder)
    timing.write_text('{"wall')
    with pytest.raises(InputError, match=r"timing\.json: is not JSON"):
        plan("--compare", folder)


@pytest.mark.parametrize("limit", [9.9, 10, 55.5, 99, 1e9])
@pytest.mark.parametrize("bend", [1.0, 1.7])
def test_the_largest_that_fits_has_a_neighbour_that_does_not(limit, bend):
    def peak(number):
        return 10.0 * number**bend

    found = largest(peak, limit, range(1, 51))
    assert found == max((n for n in range(1, 51) if peak(n) <= limit), default=0)


def test_parts_of_a_job_by_hand():
    mib = 2**20
    step = Footprint(
        parameters={}, flops=0, weights=mib, optimizer=2 * mib, saved=0, step=8 * mib,
        validation=5 * mib,
    )  # fmt: skip
    work = Workload(patch_px=16, channels=1, groups=SIZES, reach_px=0)
    data = 2 * 121 * 256 * 4 * 3 / mib
    # Interpreter, data, weights, optimiser, two copies, and 1.5 x (step + validation's own).
    expected = 300 + data + 1 + 2 + 2 + 1.5 * (8 + 4)
    assert job_memory(step, work, 300.0)["peak"] == pytest.approx(expected)
    assert job_memory(step, work, None)["peak"] == pytest.approx(data / 3 + 1 + 2 + 8)


def test_a_containers_limit_is_the_memory_that_is_free(tmp_path):
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("5000\n")
    assert free_memory(tmp_path) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) == pytest.approx(free_memory(tmp_path / "none"), rel=0.2)


HELD = """
import json, sys
from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import read_study
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.train.cost.footprint import Workload, footprint, job_memory
from ptycho_torch.train.cost.run_cost import measure_base, probe
run = run_settings(read_study(sys.argv[1]), "tiny", "control", 0)
base = measure_base()
generator = run.generator.model_copy(update={"width": 16})
wide = run.model_copy(update={"patch_px": 32, "generator": generator})
work = Workload(patch_px=32, channels=1, groups=dict(train=64, validation=64, test=8), reach_px=0)
predicted = job_memory(footprint(wide, work), work, base["memory_mib"])["peak"]
before = process_peak() / 2**20
probe(wide, work, steps=2)
print(json.dumps([base["memory_mib"], predicted, before, process_peak() / 2**20]))
"""


def test_a_process_holds_about_what_was_predicted(root):
    """In a process of its own; docs/performance.md has larger trainings, and says within 25 %."""
    words = [sys.executable, "-c", HELD, str(root / "tests" / "tiny.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    base, predicted, before, after = json.loads(done.stdout)
    assert predicted - base > 40 and before < 1.1 * base
    assert 0.75 < predicted / after < 1.25
