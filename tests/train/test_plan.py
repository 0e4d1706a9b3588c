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
from ptycho_torch.train.cost.probe import count, workload_of

PACE = {"step": 0.5, "validation_batch": 0.25, "memory_mib": 100.0}
SIZES = {"train": 121, "validation": 121, "test": 121}
CONTROL = ("--arm", "control", "--no-probe", "--no-largest")


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

    def run(*words, config=root / "tests" / "tiny.yaml", output=tmp_path / "plan.json"):
        where = [] if "--compare" in words else ["--config", config]
        words = ("plan", *where, "--output", output, *words)
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output, json.loads(output.read_text())

    run.probed = probed
    return run


def test_memory_and_times_of_an_arm_by_hand(plan):
    """Width 4, 2 blocks, 4 modes at N=16; 121 frames in batches of 8."""
    text, found = plan("--arm", "control", "--no-largest")
    (row,) = found["arms"]
    assert row["parameters"]["stored"] == 3758
    assert row["groups"] == SIZES
    # Eight epochs of 15 steps, as many validations and two predictions of 121 = 2 batches of 64.
    assert row["seconds"]["run"] == 5.0 + 8 * 15 * 0.5 + 8 * 2 * 0.25 + 2 * 2 * 0.25
    assert "70 s" in text
    # Interpreter and libraries, what the probe took, and the frames.
    data = 3 * 121 * 16 * 16 * 4 / 2**20
    assert row["memory_mib"]["peak"] == pytest.approx(300 + 100 + data)


def test_a_whole_study_counts_each_run_once(plan):
    _, found = plan("--no-largest", "--runs-at-once", 2)
    assert found["study"]["runs"] == sum(stage["new_runs"] for stage in found["stages"])
    assert found["study"]["seconds"] == found["study"]["runs"] * 70.0 / 2
    arms = [row["arm"] for row in found["arms"]]
    assert set(arms) >= {"control", "agc", "control-fno_blocks-3"}
    # Another bound of the same clipping, or another rate, takes the same and is not probed again.
    same = {arm for arm in arms if "max_ratio" in arm or "learning_rate" in arm}
    assert set(arms) - set(plan.probed) == same and len(arms) - len(same) == len(plan.probed)


def test_what_is_tried_is_what_is_counted(plan):
    tried = ("--gridsize", 2, "--patch-px", 32, "--blocks", 3, "--checkpointing")
    (row,) = plan(*CONTROL, *tried)[1]["arms"]
    run = row["settings"]
    assert (row["channels"], run["patch_px"], run["generator"]["fno_blocks"]) == (4, 32, 3)
    assert run["execution"]["checkpointing"] and row["seconds"] is None


def test_a_plan_is_written_over_a_plan_and_not_over_a_study(plan, tmp_path, root):
    study, text = tmp_path / "study.yaml", (root / "tests" / "tiny.yaml").read_bytes()
    study.write_bytes(text)
    with pytest.raises(InputError, match="is there already and is no plan"):
        plan(*CONTROL, output=study)
    assert study.read_bytes() == text
    for _ in range(2):
        plan(*CONTROL)


def test_what_was_not_measured_is_said_and_what_cannot_fit_is_not_probed(plan, run_of, tiny_study):
    text, found = plan(*CONTROL)
    counted = count(run_of(), workload_of(tiny_study.datasets["tiny"]))
    (row,) = found["arms"]
    data = row["memory_mib"]["data"]
    least = counted["weights"] + counted["saved"]
    # Three arrays of a split are read, and one is kept beside what the network takes.
    assert row["memory_mib"]["peak"] == pytest.approx(300 + max(data + least, 3 * data))
    assert "Not probed: memory is what can be counted, at least" in text
    text, found = plan("--arm", "control", "--memory-gib", 0.25)
    assert "Memory is short, and at least what is counted: control on tiny." in text
    (row,) = found["arms"]
    assert row["seconds"] is None and row["largest_batch"] == row["largest_fno_blocks"] == 0


def test_the_largest_that_fits_has_a_neighbour_that_does_not(plan, run_of, tiny_study):
    """At three times what can be counted, as the probe says here."""
    work = workload_of(tiny_study.datasets["tiny"])
    least = sum(count(run_of(), work)[key] for key in ("weights", "saved"))

    def needed(batch, blocks):
        run = run_of(training={"batch_size": batch}, generator={"fno_blocks": blocks})
        counted = count(run, work)
        frames = 3 * 121 * 16 * 16 * 4 / 2**20
        return 300 + frames + 100 / least * (counted["weights"] + counted["saved"])

    gib = needed(45, 2) / 1024
    (row,) = plan("--arm", "control", "--memory-gib", gib * 1.001)[1]["arms"]
    batch, blocks = row["largest_batch"], row["largest_fno_blocks"]
    assert batch == 45 and needed(8, blocks) <= 1024 * gib * 1.001 < needed(8, blocks + 1)


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


def test_a_comparison_is_of_medians(plan, results):
    folder = results({}, {"wall_s": 8.0, "peak_memory_mib": 350.0}, {"peak_memory_mib": 9000.0})
    text, found = plan("--compare", folder)
    (row,) = found["arms"]
    data = 3 * 121 * 16 * 16 * 4 / 2**20
    assert row["memory_mib"] == {"predicted": pytest.approx(400 + data), "measured": 400.0}
    # 30 steps, and two validations of 2 batches: 16 s, half of what was measured.
    assert row["wall_s"] == {"predicted": 30 * 0.5 + 2 * 2 * 0.25, "measured": 32.0}
    assert "0.500" in text


def test_what_cannot_be_compared_is_named(plan, results):
    folder = results({"device": "NVIDIA H200"})
    assert "control on tiny: trained on NVIDIA H200" in plan("--compare", folder)[0]
    timing = folder / "train/tiny/control/seed-0/timing.json"
    io.write_json(timing, {"device": "cpu"})
    with pytest.raises(InputError, match=r"control on tiny is of another version \('threads'"):
        plan("--compare", folder)
    timing.write_text('{"wall')
    with pytest.raises(InputError, match=r"timing\.json: is not JSON"):
        plan("--compare", folder)


def test_a_containers_limit_is_the_memory_that_is_free(tmp_path):
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("5000\n")
    assert cost.free_memory(tmp_path) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert cost.free_memory(tmp_path) == pytest.approx(cost.free_memory(tmp_path / "none"), rel=0.2)
