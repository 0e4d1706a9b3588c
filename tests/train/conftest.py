"""Runs of the tiny study, trained in process."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study

FILES = {
    "run": "run.json",
    "timing": "timing.json",
    "history": "history.csv",
    "bundle": "bundle/bundle.json",
    "weights": "bundle/weights.safetensors",
    "last": "last.safetensors",
    "patches": "test_patches.npz",
}


@pytest.fixture
def run_of(tiny):
    """An arm's run of the tiny study with changed blocks."""

    def make(arm="control", seed=0, **blocks):
        data = {**tiny}
        for block, changes in blocks.items():
            data[block] = {**data[block], **changes}
        return run_settings(parse_study(data, "tiny.yaml"), "tiny", arm, seed)

    return make


@pytest.fixture
def train_tiny(run_of, tiny_dataset, tmp_path):
    """Train one arm with changed blocks; return its files' contents."""
    from ptycho_torch.train.run import train_run

    def train(*, arm="control", seed=0, folder="run", dataset=tiny_dataset, **blocks):
        run, out = run_of(arm, seed, **blocks), tmp_path / folder
        train_run(run, splits=dataset.splits, dataset=dataset.dataset, folder=out, threads=1)
        outputs = {key: out / name for key, name in FILES.items()}
        return SimpleNamespace(
            folder=out,
            run=json.loads(outputs["run"].read_text()),
            timing=json.loads(outputs["timing"].read_text()),
            history=pd.read_csv(outputs["history"]),
            outputs=outputs,
        )

    return train


CHILD = """
import json, sys
from ptycho_torch.config.training import RunSettings
from ptycho_torch.train import checkpoint
from ptycho_torch.train.run import train_run

given = json.loads(sys.argv[1])
# Every epoch's state: these epochs are shorter than what writing it takes.
checkpoint.SHARE = float("inf")
train_run(RunSettings.model_validate(given.pop("run")), threads=1, **given)
"""


@pytest.fixture
def child(tiny_dataset, tmp_path):
    """Start a process of its own that trains a run in a named folder."""

    def start(run, folder):
        script = tmp_path / "child.py"  # DDP starts it anew.
        script.write_text(CHILD)
        words = {
            "run": run.model_dump(mode="json"),
            "splits": {k: str(v) for k, v in tiny_dataset.splits.items()},
            "dataset": str(tiny_dataset.dataset),
            "folder": str(tmp_path / folder),
        }
        command = [sys.executable, script, json.dumps(words)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def tiny_data(tiny_dataset):
    """The tiny study's data, as a training sees them."""
    from ptycho_torch.data.training import data_of_splits

    return data_of_splits(tiny_dataset.splits, tiny_dataset.dataset, patch_px=16)


@pytest.fixture
def plant_losses(monkeypatch):
    """Let training see `change(step, loss)`; steps count from 1. Returns the weights at each."""
    from ptycho_torch.train.module import PtychoModule

    plain = PtychoModule.training_loss

    def plant(change):
        weights = []

        def planted(self, batch):
            weights.append(self.snapshot().weights)
            return change(len(weights), plain(self, batch))

        monkeypatch.setattr(PtychoModule, "training_loss", planted)
        return weights

    return plant
