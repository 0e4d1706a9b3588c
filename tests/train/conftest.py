"""Runs of the tiny study, trained in process."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study

# What stands beside this file is found by its name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def train_tiny(tiny, tiny_dataset, tmp_path):
    """Train one arm of the tiny study with changed blocks; return its files' contents."""
    from ptycho_torch.train.fit import fit_run

    def train(*, arm="control", seed=0, folder="run", dataset=tiny_dataset, **blocks):
        data = {**tiny}
        for block, changes in blocks.items():
            data[block] = {**data[block], **changes}
        run = run_settings(parse_study(data, "tiny.yaml"), "tiny", arm, seed)
        out = tmp_path / folder
        names = {
            "run": "run.json",
            "timing": "timing.json",
            "history": "history.csv",
            "bundle": "bundle/bundle.json",
            "last": "last.safetensors",
            "patches": "test_patches.npz",
        }
        outputs = {key: out / name for key, name in names.items()}
        fit_run(run, splits=dataset.splits, dataset=dataset.dataset, outputs=outputs, threads=1)
        return SimpleNamespace(
            folder=Path(out),
            run=json.loads(outputs["run"].read_text()),
            timing=json.loads(outputs["timing"].read_text()),
            history=pd.read_csv(outputs["history"]),
            outputs=outputs,
        )

    return train


@pytest.fixture
def training(tiny, tiny_dataset, tmp_path, monkeypatch):
    """Train seeds; with `until`, so many steps of all of them and no more."""
    from stopped import EPOCHS, Killed

    from ptycho_torch.data.batch import groups_of_split
    from ptycho_torch.data.dataset_file import read_split
    from ptycho_torch.train import resume
    from ptycho_torch.train.fit import build_module
    from ptycho_torch.train.loop import fit_seeds
    from ptycho_torch.train.module import FitModule

    monkeypatch.setattr(resume, "SHARE", float("inf"))
    train, validation = (
        read_split(tiny_dataset.splits[s], patch_px=16) for s in ("train", "validation")
    )
    groups = groups_of_split(train), groups_of_split(validation)
    plain = FitModule.training_loss

    def run(*, seeds=(0,), until=None, planted=lambda *_: 1.0, keep=None, **blocks):
        data = {**tiny}
        for block, changes in blocks.items():
            data[block] = {**data[block], **changes}
        data["training"] = {**data["training"], "epochs": EPOCHS}
        study = parse_study(data, "tiny.yaml")
        calls = []

        def counted(self, *rest):
            if until is not None and len(calls) >= until * len(seeds):
                raise Killed
            calls.append(1)
            return plain(self, *rest) * planted(self, -(-len(calls) // len(seeds)))

        monkeypatch.setattr(FitModule, "training_loss", counted)
        modules = [
            build_module(run_settings(study, "tiny", "control", s), train, validation)
            for s in seeds
        ]
        found = fit_seeds(modules, *groups, keep=keep)
        return found, len(calls) // len(seeds)

    return run
