"""Runs of the tiny study, trained in process."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.data.training import data_of_splits
from ptycho_torch.train.module import PtychoModule
from ptycho_torch.train.run import train_run

FILES = {
    "run": "run.json",
    "timing": "timing.json",
    "history": "history.csv",
    "bundle": "bundle/bundle.json",
    "weights": "bundle/weights.safetensors",
    "last": "last.safetensors",
    "patches": "test_patches.npz",
}


@pytest.fixture(scope="session")
def run_of():
    """An arm's run of the tiny study with changed blocks; two epochs."""

    def make(arm="control", seed=0, **blocks):
        data = load_yaml(Path(__file__).parents[1] / "tiny.yaml")
        data["training"] |= {"epochs": 2, "optimizer": {"name": "adam", "learning_rate": 2e-3}}
        data |= {block: {**data[block], **changes} for block, changes in blocks.items()}
        return run_settings(parse_study(data, "tiny.yaml"), "tiny", arm, seed)

    return make


@pytest.fixture(scope="session")
def train_into(run_of, tiny_dataset):
    """Train one arm with changed blocks into a folder; return its files' contents."""

    def train(folder, *, arm="control", seed=0, **blocks):
        data = {"splits": tiny_dataset.splits, "dataset": tiny_dataset.dataset}
        train_run(run_of(arm, seed, **blocks), folder=folder, threads=1, **data)
        outputs = {key: folder / name for key, name in FILES.items()}
        return SimpleNamespace(
            folder=folder,
            run=json.loads(outputs["run"].read_text()),
            timing=json.loads(outputs["timing"].read_text()),
            history=pd.read_csv(outputs["history"]),
            outputs=outputs,
            results={k: p.read_bytes() for k, p in outputs.items() if k != "timing"},
        )

    return train


@pytest.fixture
def train_tiny(train_into, tmp_path):
    """Train into a named folder of this test."""
    return lambda *, folder="run", **changes: train_into(tmp_path / folder, **changes)


@pytest.fixture(scope="session")
def plain(train_into, tmp_path_factory):
    """The control, trained once as it is: what a changed run is compared with."""
    return train_into(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture
def tiny_data(tiny_dataset):
    """The tiny study's data, as a training sees them."""
    return data_of_splits(tiny_dataset.splits, tiny_dataset.dataset, patch_px=16)


@pytest.fixture
def plant_losses(monkeypatch):
    """Let training see `change(step, loss)`; steps count from 1. Returns the weights at each."""
    original = PtychoModule.training_loss

    def plant(change):
        weights = []

        def planted(self, batch):
            weights.append(self.snapshot().weights)
            return change(len(weights), original(self, batch))

        monkeypatch.setattr(PtychoModule, "training_loss", planted)
        return weights

    return plant
