"""docs/example.py, docs/tutorial.ipynb and the Python of docs/own-data.md, run as they stand: what a
newcomer pastes must work and give what it promises; what benchmarks measure, and their page."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.commands import ROOT

import ptycho_torch as pt
from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import DEFAULT, SPLITS, simulate_dataset

NOTEBOOK = ROOT / "docs/tutorial.ipynb"
FEW = {"generator": {"name": "hybrid", "width": 8, "modes": 8}, "training": {"epochs": 2}}


@pytest.fixture(scope="module")
def cells():
    """The notebook's code cells as (source, outputs)."""
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in found if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    return [("".join(cell["source"]), cell["outputs"]) for cell in code]


def run(folder, *words):
    """Run Python in a folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text):
    """Scores by what was scored, of the table that a cell prints."""
    return {
        name: [float(number) for number in numbers.split()]
        for name, numbers in re.findall(r"^(\w+)((?: +\d\.\d{3}){3})$", text, re.M)
    }


def test_the_tutorial_runs_and_prints_what_it_was_committed_with(cells, tmp_path):
    """Two epochs in place of ten: what no training changes must be as it is shown."""
    code = []
    for source, _ in cells:
        if source.startswith("%%writefile "):
            name, text = source.removeprefix("%%writefile ").split("\n", 1)
            (tmp_path / name).write_text(text)
        else:
            code.append(source)
    program = "\n".join(code)
    assert program.count("EPOCHS = 10\n") == 1
    found = run(tmp_path, "-c", program.replace("EPOCHS = 10\n", "EPOCHS = 2\n"))
    shown = "".join(text for _, outputs in cells for o in outputs for text in o.get("text", []))
    sizes, failure = r"^(?:\d+ frames|test scan:) .*$", r"^exploded in epoch \d+, step \d+:$"
    for pattern in (sizes, failure):
        assert re.findall(pattern, found, re.M) == re.findall(pattern, shown, re.M) != []
    now, then = rows(found), rows(shown)
    assert now.keys() == then.keys() == {"constant", "truth", "rPIE", "stable_hybrid", "MyNet"}
    for name in ("constant", "truth", "rPIE"):
        assert now[name] == pytest.approx(then[name], abs=0.01)
    for scores in (now, then):  # A wrong scale, place or turn of patches would not get below.
        assert all(scores[n][2] < scores["constant"][2] for n in ("rPIE", "stable_hybrid", "MyNet"))


def test_the_tutorial_is_committed_with_its_pictures_and_nothing_of_the_machine(cells):
    outputs = [output for _, found in cells for output in found]
    assert all(found or source.startswith("import") for source, found in cells)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert NOTEBOOK.stat().st_size < 400_000


def test_the_page_of_your_own_data_trains_on_a_file_and_uses_the_bundle(tiny_dataset, tmp_path):
    """Its Python with two epochs, on splits of the tiny study, in a folder that holds nothing else."""
    text = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(from ptycho_torch.*?)^```", text, re.M | re.S)
    for old, new in (("patch_px=64", "patch_px=16"), ("gridsize=2)", "gridsize=2), **FEW")):
        assert old in code
        code = code.replace(old, new)
    for name, split in (("scan.npz", "train"), ("other.npz", "test")):
        shutil.copy(tiny_dataset.splits[split], tmp_path / name)
    last = 'print(record["outcome"], record["best_val_loss"], seen.report["r_factor"])'
    found = run(tmp_path, "-c", f"FEW = {FEW}\n{code}\n{last}").split()[-3:]
    assert found[0] == "completed"
    # Predicting nothing scores 1; amplitudes that inference takes for counts end at R 0.55.
    assert 0 < float(found[1]) < 0.6 and 0 < float(found[2]) < 0.45
    assert read_bundle(tmp_path / "run/bundle").settings.patch_px == 16
    assert "object" in io.npz_keys(tmp_path / "seen/object.npz")


def test_arrays_are_reconstructed_and_scored_and_no_file_is_written(
    tiny_dataset, tmp_path, monkeypatch
):
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


def test_the_example_trains_as_any_lightning_user_would(tmp_path):
    """One epoch, on a scan in memory and on a file, in a folder that holds nothing else."""
    script = ROOT / "docs/example.py"
    assert len(script.read_text().splitlines()) <= 25
    splits = {split: tmp_path / f"{split}.npz" for split in SPLITS}
    simulate_dataset(DEFAULT, name="example", splits=splits, summary=tmp_path / "dataset.json")
    found = run(tmp_path, script, splits["train"], "1")
    losses = [float(number) for number in re.findall(r"tensor\(([\d.]+)", found)]
    # Predicting nothing scores 1; a wrong scale or probe between the steps would not get below.
    assert len(losses) == 2 and all(0 < loss < 0.6 for loss in losses)


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
