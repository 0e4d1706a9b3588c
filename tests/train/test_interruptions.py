"""A training process is ended by signals at random moments, and goes on to the same bytes.

`make faults` does the same with whole studies, twenty times.
"""

import signal
import subprocess
import sys
import time

import pytest

from ptycho_torch.config.arms import run_settings
from ptycho_torch.files.state import read_state
from ptycho_torch.runtime.atomic_write import remove_leftovers
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.train import resume

EPOCHS = 8
FILES = ("run.json", "history.csv", "bundle/bundle.json", "bundle/weights.safetensors",
         "last.safetensors", "test_patches.npz")  # fmt: skip
CHILD = """
import json, sys
from ptycho_torch.config.training import RunSettings
from ptycho_torch.train import resume
from ptycho_torch.train.fit import fit_run

given = json.loads(sys.argv[1])
# Every epoch's state: these epochs are shorter than what writing it takes.
resume.SHARE = float("inf")
fit_run(RunSettings.model_validate(given.pop("run")), threads=1, **given)
"""


@pytest.fixture
def job(tiny, tiny_dataset, tmp_path):
    """A training's settings and files, as a child process is told, in a folder by name."""
    from ptycho_torch.config.read import parse_study

    tiny["training"] |= {"epochs": EPOCHS, "schedule": {"name": "exponential", "gamma": 0.95}}
    run = run_settings(parse_study(tiny, "tiny.yaml"), "tiny", "agc", 3)

    def make(name):
        names = {
            **{"run": "run.json", "timing": "timing.json", "history": "history.csv"},
            **{"bundle": "bundle/bundle.json", "last": "last.safetensors"},
            "patches": "test_patches.npz",
        }
        return {
            "run": run.model_dump(mode="json"),
            "splits": {k: str(v) for k, v in tiny_dataset.splits.items()},
            "dataset": str(tiny_dataset.dataset),
            "outputs": {k: str(tmp_path / name / v) for k, v in names.items()},
        }

    return make


def train_here(given):
    from ptycho_torch.config.training import RunSettings
    from ptycho_torch.train.fit import fit_run

    rest = {key: value for key, value in given.items() if key != "run"}
    fit_run(RunSettings.model_validate(given["run"]), threads=1, **rest)


def test_a_training_ended_by_signals_gives_the_undisturbed_bytes(job, tmp_path, monkeypatch):
    import json

    monkeypatch.setattr(resume, "SHARE", float("inf"))
    whole, cut = job("whole"), job("cut")
    train_here(whole)
    state = tmp_path / "cut" / resume.STATE
    waits = named_stream(11, "moments").uniform(0.0, 0.3, 2)
    reached = 0
    for number, wait_s in zip((signal.SIGKILL, signal.SIGTERM), waits, strict=True):
        before = state.stat().st_mtime_ns if state.exists() else 0
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(cut)], stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 120
        while not (state.exists() and state.stat().st_mtime_ns > before):
            assert child.poll() is None and time.monotonic() < end, child.communicate()[1]
            time.sleep(0.01)
        time.sleep(wait_s)
        child.send_signal(number)
        said = child.communicate(timeout=60)[1]
        # It may have ended just before.
        expected = {signal.SIGKILL: -9, signal.SIGTERM: 143}[number]
        assert child.returncode in (expected, 0), said
        if not state.exists():
            break
        found = read_state(state)
        assert found["epochs"] > reached
        reached = found["epochs"]
    train_here(cut)
    for name in FILES:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    timing = json.loads((tmp_path / "cut" / "timing.json").read_text())
    assert timing["sittings"] > 1
    left = {p.name for p in (tmp_path / "cut").iterdir()}
    assert left == {p.name for p in (tmp_path / "whole").iterdir()}


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path):
    for name in (".run-ab12_xyz.json", "run.json", ".run-ab12_xyz.csv", ".runs-ab12_xyz.json"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "run.json")
    assert not (tmp_path / ".run-ab12_xyz.json").exists()
    assert len(list(tmp_path.iterdir())) == 3
