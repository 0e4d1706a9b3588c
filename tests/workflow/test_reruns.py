"""What an edit makes again: the lists of code against the imports, and docs/reference/reruns.md;
rule scripts: importable without effect, and right with a stand-in for Snakemake's job."""

import re
import shutil
import subprocess
import sys
from modulefinder import ModuleFinder
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.commands import ROOT

from ptycho_torch.config.plan import untrained_networks
from ptycho_torch.files import io
from ptycho_torch.runtime.provenance import code_behind
from ptycho_torch.train import run as train

PACKAGE = ROOT / "src" / "ptycho_torch"
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_list_holds_what_its_script_imports_and_nothing_else(script):
    """At its start or later, as Python itself finds it."""
    finder = ModuleFinder([str(PACKAGE.parent)])
    finder.run_script(str(script))
    files = {Path(module.__file__ or "") for module in finder.modules.values()}
    reached = {path for path in files if path == script or path.is_relative_to(PACKAGE)}
    listed = code_behind(script, PACKAGE)
    assert listed[0] == script and len(set(listed)) == len(listed)
    assert {path for path in listed if path.suffix == ".py"} == reached


def test_nothing_is_imported_by_a_name_that_is_made_while_running():
    for path in (*PACKAGE.rglob("*.py"), *SCRIPTS):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"import_module\(|__import__\(|\brunpy|\bexec\(", text), path


def test_templates_are_on_the_lists_of_the_rooms_that_render_them():
    lists = {script.stem: code_behind(script, PACKAGE) for script in SCRIPTS}
    for template in PACKAGE.rglob("templates/*"):
        by = {name for name, files in lists.items() if template in files}
        assert not by & {"simulate", "train", "evaluate"}, template
        # That of the command `plan` belongs to no rule.
        assert by or template.name == "plan.md.j2", template


@pytest.fixture(scope="module")
def reruns(load):
    return load("docs/reference/reruns.py")


def test_every_job_reads_the_list_of_its_own_script(reruns, tmp_path):
    jobs = reruns.plan(reruns.study(), tmp_path)
    # A study without planned looks has no `look`.
    scripts = {Path(job.script).stem for job in jobs.values()} | {"look"}
    assert scripts == {path.stem for path in SCRIPTS}
    for name, job in jobs.items():
        lists = [path for path in job.inputs if re.match(r"results/sources/.*\.txt", path)]
        assert lists == [f"results/sources/{Path(job.script).stem}.txt"], name


def test_the_table_of_reruns_is_what_is_planned(reruns):
    written = (ROOT / "docs/reference/reruns.md").read_text(encoding="utf-8")
    assert written == reruns.text(), "run `make docs`, and read what changed"


# What takes a tenth of a second or more and is imported where it is used.
SLOW = """
import runpy, sys
import snakemake_logger_plugin_ptycho, ptycho_torch.cli
slow = {"lightning", "matplotlib", "h5py", "scipy.stats", "scipy.ndimage", "skimage.metrics"}
for script in sys.argv[1:]:
    assert callable(runpy.run_path(script)["main"])
    # Those that are many come first: one of training imports torch only when it has a GPU.
    many = script.endswith(("train.py", "evaluate.py")) and "real_data" not in script
    print(script, *(slow | ({"torch", "pandas"} if many else set())) & set(sys.modules))
"""


def test_a_script_is_ready_before_it_imports_what_is_slow(root, tmp_path):
    """And importing it does nothing: jobs of a study are many and short."""
    folder = root / "workflow/scripts"
    many = [folder / "train.py", folder / "evaluate.py"]
    scripts = [*many, *sorted(set(folder.glob("*.py")) - {*many})]
    done = subprocess.run(
        [sys.executable, "-c", SLOW, *scripts],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [str(script) for script in scripts]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": "test.npz"}, "of the test split equals that of the validation split"),
        ({"train": "nowhere.npz"}, "nowhere.npz: cannot be read"),
    ],
)
def test_files_that_cannot_be_used_end_the_job_with_one_line(
    run_script, tiny_dataset, tmp_path, monkeypatch, change, message, capsys
):
    monkeypatch.chdir(tiny_dataset.folder)
    splits = {split: str(path) for split, path in tiny_dataset.splits.items()}
    files = {"source": "files", "patch_px": 16, "test_step_px": 4, **splits, **change}
    outputs = {name: f"o/{name}" for name in (*splits, "dataset")}
    job = {"params": {"settings": files}, "output": outputs, "wildcards": {"dataset": "mine"}}
    with pytest.raises(SystemExit) as caught:
        run_script("simulate.py", **job)
    log = (tmp_path / "log.txt").read_text()
    assert caught.value.code == 1 and message in log and "Traceback" not in log
    assert message in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.fixture
def several(run_script, run_of, tiny_dataset):
    """Run rule `train` for one seed, or as one job for several."""
    run = run_of("agc")
    inputs = {**tiny_dataset.splits, "dataset": tiny_dataset.dataset}

    def job(*folders):
        records = [f"{folder}/run.json" for folder in folders]
        output = {"run": records if len(records) > 1 else records[0]}
        params = {"run": run.model_dump(mode="json")}
        return run_script("train.py", input=inputs, output=output, params=params)

    return job


def test_a_job_of_several_seeds_leaves_the_bytes_of_jobs_of_one(several, tmp_path):
    several("both/seed-0", "both/seed-3")
    several("alone/seed-3")
    both, alone = tmp_path / "both/seed-3", tmp_path / "alone/seed-3"
    names = {p.relative_to(alone) for p in alone.rglob("*.*") if p.name != "timing.json"}
    assert len(names) > 5
    for name in names:
        assert (alone / name).read_bytes() == (both / name).read_bytes(), name
    assert io.read_json(tmp_path / "both/seed-0/run.json")["seed"] == 0
    assert not list(tmp_path.rglob("*.ckpt"))


def test_of_a_job_that_was_lost_no_seed_starts_anew(several, tmp_path, monkeypatch):
    """Snakemake removes what a lost job has written, of finished seeds too: their checkpoints stay."""
    train_run, begun = train.train_run, []

    def lost_at_the_second(run, **more):
        begun.append(run.seed)
        if len(begun) == 2:
            raise OSError("the machine went down")
        train_run(run, **more)

    monkeypatch.setattr(train, "train_run", lost_at_the_second)
    with pytest.raises(SystemExit):
        several("seed-0", "seed-3")
    (tmp_path / "seed-0/run.json").unlink()
    assert [path.parent.name for path in tmp_path.rglob("*.ckpt")] == ["seed-0"]
    several("seed-0", "seed-3")
    assert begun == [0, 3, 0, 3]
    assert "resum" in (tmp_path / "log.txt").read_text()
    assert (tmp_path / "seed-0/run.json").exists() and not list(tmp_path.rglob("*.ckpt"))


def test_fresh_networks_are_each_there_once(tiny_study):
    """`agc` is `control` before its first step; both have another depth than those compared."""
    assert list(untrained_networks(tiny_study)) == [
        "hybrid-4", "stable_hybrid-4", "layerscale_hybrid-4",
        "hybrid-8", "stable_hybrid-8", "layerscale_hybrid-8", "control",
    ]  # fmt: skip


def test_failed_runs_are_looked_at_as_they_ended_too(run_script, tiny_dataset, plain, tmp_path):
    """Three runs: one as trained, one that failed, and one that failed with weights of NaN."""
    folders = [plain.folder]
    for seed, name in ((1, "failed"), (2, "lost")):
        folders.append(shutil.copytree(plain.folder, tmp_path / name))
        settings = plain.run["settings"] | {"seed": seed}
        changed = plain.run | {"seed": seed, "settings": settings, "outcome": "non_finite"}
        io.write_json(tmp_path / name / "run.json", changed)
    tensors = io.read_tensors(tmp_path / "lost/last.safetensors")
    lost = {name: tensor * torch.nan for name, tensor in tensors.items()}
    io.write_tensors(tmp_path / "lost/last.safetensors", lost)
    data = {"train": tiny_dataset.splits["train"], "dataset": tiny_dataset.dataset}
    inputs = data | {"runs": [folder / "run.json" for folder in folders]}
    output = {name: f"{name}.json" for name in ("gradients", "activations")}
    params = {"settings": {"groups": 4}}
    run_script("diagnose_runs.py", input=inputs, output=output, params=params)
    entries = io.read_json(tmp_path / "gradients.json")["networks"]
    found = {(e["network"]["seed"], e["network"]["state"]): e for e in entries}
    assert set(found) == {(0, "best"), (1, "best"), (1, "last"), (2, "best"), (2, "last")}
    assert "hold NaN" in found[2, "last"]["unusable"]
    assert found[1, "last"]["unusable"] is None and found[1, "last"]["spectral_grad_mean"] > 0
    # The same weights, looked at twice, have the same numbers.
    ratios = [found[seed, "best"]["spectral_local_ratio"] for seed in (0, 1)]
    assert np.isclose(*ratios, rtol=1e-5)
