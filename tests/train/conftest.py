"""Runs of the tiny study, trained in process."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from ptycho_torch.config.read import parse_study


@pytest.fixture
def train_tiny(tiny, tiny_dataset, tmp_path):
    """Train one arm of the tiny study with changed blocks; return its files' contents."""
    from ptycho_torch.train.fit import fit_run

    def train(*, arm="control", seed=0, folder="run", dataset=tiny_dataset, **blocks):
        data = {**tiny}
        for block, changes in blocks.items():
            data[block] = {**data[block], **changes}
        run = parse_study(data, "tiny.yaml").run("tiny", arm, seed)
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
