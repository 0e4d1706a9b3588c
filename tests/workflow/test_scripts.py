"""Rule scripts: importable without effect, and right with a stand-in for Snakemake's job."""

import subprocess
import sys

import pytest

from ptycho_torch.files import io
from ptycho_torch.train import run as train

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


@pytest.fixture
def simulate(run_script):
    """Run rule `simulate` with these settings."""
    outputs = {name: f"o/{name}.npz" for name in ("train", "validation", "test")}
    job = {"output": outputs | {"dataset": "o/dataset.json"}, "wildcards": {"dataset": "mine"}}
    return lambda settings: run_script("simulate.py", params={"settings": settings}, **job)


def files_settings(splits, **changes):
    splits = {split: str(path) for split, path in splits.items()}
    return {"source": "files", "patch_px": 16, "test_step_px": 4, **splits, **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": {"train": "0" * 64}}, "expected 0000"),
        ({"validation": "test.npz"}, "of the test split equals that of the validation split"),
        ({"train": "nowhere.npz"}, "nowhere.npz: cannot be read"),
    ],
)
def test_files_that_cannot_be_used_end_the_job_with_one_line(
    simulate, tiny_dataset, tmp_path, monkeypatch, change, message, capsys
):
    monkeypatch.chdir(tiny_dataset.folder)
    with pytest.raises(SystemExit) as caught:
        simulate(files_settings(tiny_dataset.splits, **change))
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
