"""docs/start.md, run as it stands; what the benchmarks measure exists, and no quoted number is
typed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ptycho_torch as pt
from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import DEFAULT, simulate_dataset

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_trains_as_any_lightning_user_would_and_its_results_are_used(tmp_path):
    """One epoch on the small study's splits, in a folder that holds nothing else."""
    script = ROOT / "docs/example.py"
    assert len(script.read_text().splitlines()) <= 25
    text = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    shown, used = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert shown == script.read_text()
    assert (ROOT / "docs" / re.search(r"\]\((img/\S+)\)", text).group(1)).exists()
    splits = {split: tmp_path / f"{split}.npz" for split in ("train", "validation", "test")}
    simulate_dataset(DEFAULT, name="example", splits=splits, summary=tmp_path / "dataset.json")
    done = subprocess.run(
        [sys.executable, "-c", shown + used, str(splits["train"]), "1"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = re.findall(r"tensor\(([\d.]+)", done.stdout)
    outcome, loss, error = re.search(r"(\w+) ([\d.]+)\n([\d.]+)\s*$", done.stdout).groups()
    assert outcome == "completed" and len(losses) == 2
    # Predicting nothing scores 1; a wrong scale or probe between the steps would not get below.
    assert all(0 < float(number) < 0.6 for number in (*losses, loss, error))
    assert read_bundle(tmp_path / "trained/bundle").settings.patch_px == 32
    assert "object" in io.npz_keys(tmp_path / "inferred/object.npz")


def test_arrays_are_reconstructed_and_scored_without_a_file(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = pt.read_scan(tiny_dataset.splits["test"])
    arrays = (scan.amplitude_nHW, scan.positions_n2, scan.probe_MHW)
    found = pt.reconstruct(*arrays, iterations=30)
    assert found.error[-1] < 0.05 < found.error[0]
    scores = pt.evaluate(1.7j * found.object_YX, found.object_YX)
    assert scores["amplitude_ssim"] == pytest.approx(1) and scores["complex_error"] < 1e-6
    with pytest.raises(InputError, match="has no key 'iteration'; did you mean 'iterations'"):
        pt.reconstruct(*arrays, iteration=3)
    with pytest.raises(InputError, match=r"object: is \(3, 3\), expected \(4, 4\) as the truth"):
        pt.evaluate(np.ones((3, 3)), np.ones((4, 4)))
    assert not list(tmp_path.iterdir())


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
