"""Rule scripts: importable without effect, and right with a stand-in for Snakemake's job."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.config.arms import run_settings

# These import torch when they work; training and inference only when they have a GPU, see
# tests/test_gpus.py.
NEED_TORCH = {
    *("simulate.py", "reconstruct.py", "diagnose_fresh.py", "diagnose_runs.py"),
    *("real_data_rpie.py", "real_data_evaluate.py"),
}
# What takes a tenth of a second or more and is imported where it is used.
SLOW = ("torch", "lightning", "matplotlib", "h5py", "scipy.stats", "scipy.ndimage", "scipy.spatial")
SLOW_PARTS = ("skimage.metrics", "skimage.registration", "skimage.restoration", "skimage.draw")


def imported(program):
    """Return the slow modules that a program leaves imported."""
    ask = f"print(*sorted({{*{(*SLOW, *SLOW_PARTS, 'pandas')!r}}} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", f"import runpy, sys; {program}; {ask}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(result.stdout.split())


def names():
    folder = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
    return sorted(path.name for path in folder.glob("*.py"))


@pytest.mark.parametrize("name", names())
def test_a_script_is_ready_before_it_imports_what_is_slow(root, name, tmp_path):
    """And importing it does nothing: jobs of a study are many and short."""
    script = str(root / "workflow/scripts" / name)
    program = f"import os; os.chdir({str(tmp_path)!r}); job = runpy.run_path({script!r})"
    found = imported(f"{program}; assert callable(job['main'])")
    assert found <= ({"torch"} if name in NEED_TORCH else {"pandas"})
    assert not list(tmp_path.iterdir())


def test_those_that_make_no_tables_do_without_pandas(root):
    for name in ("evaluate.py", "simulate.py", "train.py", "parity_report.py"):
        found = imported(f"runpy.run_path({str(root / 'workflow/scripts' / name)!r})")
        assert "pandas" not in found, name


def test_parsing_the_workflow_and_help_import_nothing_slow():
    parse = "from ptycho_torch.config.read import parse_study, read_sources"
    assert imported(f"{parse}; import snakemake_logger_plugin_ptycho") == set()
    assert imported("import ptycho_torch.cli") == set()


def test_simulate_script_makes_the_dataset_of_its_params(
    run_script, tiny_study, tiny_dataset, tmp_path
):
    outputs = {
        "train": "train.npz",
        "validation": "validation.npz",
        "test": "test.npz",
        "dataset": "dataset.json",
    }
    run_script(
        "simulate.py",
        output=outputs,
        params={"settings": tiny_study.datasets["tiny"].model_dump(mode="json")},
        wildcards={"dataset": "tiny"},
    )
    made = json.loads((tmp_path / "dataset.json").read_text())
    expected = json.loads(tiny_dataset.dataset.read_text())
    assert made["splits"]["train"]["sha256"] == expected["splits"]["train"]["sha256"]


def files_settings(splits, **changes):
    return {
        "source": "files", "patch_px": 16, "test_step_px": 4,
        **{s: str(p) for s, p in splits.items()}, **changes,
    }  # fmt: skip


OUTPUTS = {
    "train": "o/train.npz",
    "validation": "o/validation.npz",
    "test": "o/test.npz",
    "dataset": "o/dataset.json",
}


def test_files_of_another_program_are_taken_in_and_keep_their_data(
    run_script, tiny_dataset, tmp_path
):
    run_script(
        "simulate.py",
        output=OUTPUTS,
        params={"settings": files_settings(tiny_dataset.splits)},
        wildcards={"dataset": "mine"},
    )
    ours, theirs = (np.load(p) for p in (tmp_path / "o/train.npz", tiny_dataset.splits["train"]))
    np.testing.assert_array_equal(ours["diffraction"], theirs["diffraction"])
    assert float(ours["norm_Y_I"]) == float(theirs["norm_Y_I"])
    assert json.loads((tmp_path / "o/dataset.json").read_text())["test_step_px"] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_px": 32}, "expected (n, 32, 32, C)"),
        ({"sha256": {"train": "0" * 64}}, "expected 0000"),
        ({"train": "nowhere.npz"}, "nowhere.npz: cannot be read"),
        (
            {"validation": None},
            "array 'diffraction' of the test split equals that of the validation split",
        ),
    ],
)
def test_files_that_cannot_be_used_end_the_job_with_one_line(
    run_script, tiny_dataset, tmp_path, changes, message, capsys
):
    with pytest.raises(SystemExit) as caught:
        run_script(
            "simulate.py", output=OUTPUTS, wildcards={"dataset": "mine"},
            params={
                "settings": files_settings(
                    tiny_dataset.splits,
                    **{k: v or str(tiny_dataset.splits["test"]) for k, v in changes.items()},
                )
            },
        )  # fmt: skip
    assert caught.value.code == 1
    log = (tmp_path / "log.txt").read_text()
    assert message in log and "Traceback" not in log
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_train_script_obeys_its_jobs_threads(run_script, tiny_study, tiny_dataset, tmp_path):
    import torch

    before = torch.get_num_threads()
    try:
        run_script(
            "train.py",
            input={**tiny_dataset.splits, "dataset": tiny_dataset.dataset},
            output={
                "run": "run.json", "timing": "timing.json", "history": "history.csv",
                "bundle": "bundle/bundle.json", "last": "last.safetensors", "patches": "p.npz",
            },
            params={"runs": [run_settings(tiny_study, "tiny", "agc", 0).model_dump(mode="json")]},
            threads=1,
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    assert json.loads((tmp_path / "timing.json").read_text())["threads"] == 1
    assert json.loads((tmp_path / "run.json").read_text())["arm"] == "agc"


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("coords_offsets", lambda a: a + 0.5, "patch 0 lies at (0.5, 0.5)"),
        ("coords_offsets", lambda a: a * 0, "one row or column"),
        ("coords_offsets", lambda a: a + 1e30, "whole pixels"),
        ("coords_offsets", lambda a: a + 8, "patches reach to (64, 64) px"),
        ("probeGuess", lambda a: a[None].repeat(3, 0), "'probeGuess' differs"),
    ],
)
def test_a_test_scan_that_cannot_be_scored_is_refused_before_training(
    run_script, tiny_dataset, tmp_path, key, change, message
):
    arrays = dict(np.load(tiny_dataset.splits["test"]))
    arrays[key] = change(arrays[key])
    bad = tmp_path / "bad.npz"
    np.savez(bad, **arrays)
    with pytest.raises(SystemExit):
        run_script(
            "simulate.py", output=OUTPUTS, wildcards={"dataset": "mine"},
            params={"settings": files_settings(tiny_dataset.splits, test=str(bad))},
        )  # fmt: skip
    log = (tmp_path / "log.txt").read_text()
    assert message in log and str(bad) in log and "Traceback" not in log


def test_parity_scripts_report_first_and_fail_after(run_script, tmp_path, capsys):
    """The report stays whatever it says; only the last script fails, in one line."""
    from ptycho_torch.files import io

    report = {"format": "ptycho-torch parity 1", "passed": False, "headline": "FAILED: stitching"}
    io.write_json(tmp_path / "parity.json", report)
    inputs, output = {"data": tmp_path / "parity.json"}, {"passed": "passed.txt"}
    with pytest.raises(SystemExit) as caught:
        run_script("parity.py", input=inputs, output=output)
    assert caught.value.code == 1
    assert "parity FAILED: stitching" in capsys.readouterr().err
    assert (tmp_path / "parity.json").exists() and not (tmp_path / "passed.txt").exists()
    io.write_json(tmp_path / "parity.json", {**report, "passed": True, "headline": "passed: all"})
    run_script("parity.py", input=inputs, output=output)
    assert (tmp_path / "passed.txt").read_text() == "passed: all\n"
