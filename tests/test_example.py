"""docs/example.py, run as it stands; what the benchmarks measure exists, and no quoted number is
typed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ptycho_torch.simulate.dataset import DEFAULT, simulate_dataset

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_trains_as_any_lightning_user_would(tmp_path):
    """One epoch, on a scan in memory and on a file, in a folder that holds nothing else."""
    script = ROOT / "docs/example.py"
    assert len(script.read_text().splitlines()) <= 25
    splits = {split: tmp_path / f"{split}.npz" for split in ("train", "validation", "test")}
    simulate_dataset(DEFAULT, name="example", splits=splits, summary=tmp_path / "dataset.json")
    done = subprocess.run(
        [sys.executable, script, splits["train"], "1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    losses = [float(number) for number in re.findall(r"tensor\(([\d.]+)", done.stdout)]
    # Predicting nothing scores 1; a wrong scale or probe between the steps would not get below.
    assert len(losses) == 2 and all(0 < loss < 0.6 for loss in losses)


def test_the_names_that_are_run_are_benchmarks(bench):
    run = bench("run")
    for name in run.NAMES:
        assert callable(bench(name).measure) and callable(bench(name).tables), name
    with pytest.raises(SystemExit, match="no benchmark 'dig'; there are: training_step"):
        run.find(["dag", "dig"])


def test_the_bare_loop_takes_the_steps_of_the_job(bench):
    """Else their times could not be compared: the same weights at the end, to the last bit."""
    overhead = bench("overhead")
    case = overhead.make_case("../tests/tiny.yaml", 48, 2)
    ours, plain = overhead.job(case), overhead.bare_loop(case)
    assert ours.keys() == plain.keys()
    assert all(torch.equal(ours[name], plain[name]) for name in ours)


def test_the_script_for_a_gpu_measures_all_its_parts(bench, monkeypatch, tmp_path):
    """On a CPU in tiny sizes; the tests that need a GPU, but for CUDA's own, are tried by it."""
    gpu = bench("gpu")
    monkeypatch.setattr(bench("side_by_side"), "FOLDER", tmp_path)
    gpu.measure(gpu.TINY, limit_s=500)
    result = json.loads((tmp_path / "gpu.json").read_text())
    rows = result["parts"]
    assert not [row for part in rows.values() for row in part if "error" in row]
    assert {row["outcome"] for row in rows["tests"]} == {"passed", "skipped"}
    programs = [row["program"] for row in rows["steps"] if "program" in row]
    assert programs == ["eager", "plain", "eager"]
    assert [row["arm"] for row in rows["stage_a"][:-1]] == ["control", "agc"]
    minutes = sum(row["minutes a run"] for row in rows["stage_a"][:-1])
    assert rows["stage_a"][-1]["hours, one after another"] == pytest.approx(minutes / 60)
    assert all(f"**{part}**" in gpu.tables(result) for part in gpu.PARTS) and gpu.goals(result)


def test_the_page_says_what_its_files_say(bench):
    report = bench("report")
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.written(page, json.loads(json.dumps(report.read(report.QUOTED)))) == page
