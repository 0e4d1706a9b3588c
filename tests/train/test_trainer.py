"""What comes with Lightning's Trainer: any Trainer trains, loggers, and devices that share a run."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file

from ptycho_torch.data.module import PtychoDataModule
from ptycho_torch.networks import generators
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule


def test_any_trainer_trains_to_the_same_weights_and_ends_a_bad_run(
    run_of, tiny_data, tmp_path, plant_losses
):
    """Also with a sanity check and a progress bar, which are Lightning's defaults."""
    run = run_of("agc")
    ours = fit(PtychoModule(run, tiny_data), tiny_data.train, tiny_data.validation)

    def train():
        module = PtychoModule(run, tiny_data)
        data = PtychoDataModule(run, tiny_data.train, tiny_data.validation)
        trainer = Trainer(
            accelerator="cpu", max_epochs=2, logger=False, default_root_dir=tmp_path,
            enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(module, data)
        return trainer, module

    trainer, module = train()
    weights = module.network.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in ours.last.weights.items())
    found = trainer.callback_metrics["mae_val_loss"].item()
    assert found == pytest.approx(ours.module.history.rows[-1]["mae_val_loss"], rel=1e-6)
    plant_losses(lambda step, loss: loss * float("nan") if step == 7 else loss)
    _, module = train()
    failure = module.monitor.failure
    assert (failure.outcome, failure.epoch, failure.step) == ("non_finite", 1, 7)
    assert not list(tmp_path.iterdir())


def test_what_changes_no_result_changes_none_and_loggers_get_every_epoch(
    train_tiny, plain, monkeypatch
):
    """`checkpointing` computes activations again."""
    again, checkpoint = [], generators.checkpoint
    monkeypatch.setattr(
        generators, "checkpoint", lambda *a, **k: again.append(1) or checkpoint(*a, **k)
    )
    more = {"checkpointing": True, "loggers": ["csv", "tensorboard"]}
    logged = train_tiny(execution=more)
    assert again
    for name in ("history", "weights", "last", "patches"):
        assert logged.results[name] == plain.results[name], name
    table = pd.read_csv(logged.folder / "logs/csv/metrics.csv")
    for column in ("step", "mae_val_loss", "mae_train_loss", "grad_norm_max", "learning_rate"):
        np.testing.assert_allclose(table[column], logged.history[column], rtol=1e-5)
    assert list((logged.folder / "logs/tensorboard").glob("events.*"))


def test_a_logger_that_is_not_installed_is_named_with_its_line(train_tiny, monkeypatch, tmp_path):
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(InputError, match=r"execution\.loggers: .*pip install wandb"):
        train_tiny(execution={"loggers": ["wandb"]})
    assert not (tmp_path / "run").exists()


CHILD = """
import json, sys
from ptycho_torch.config.training import RunSettings
from ptycho_torch.train.run import train_run

given = json.loads(sys.argv[1])
train_run(RunSettings.model_validate(given.pop("run")), threads=1, **given)
"""


def test_two_processes_train_as_one_with_the_doubled_batch(
    run_of, train_tiny, tiny_dataset, tmp_path
):
    """Each takes half of every step; the other half's gradients come by DDP (gloo)."""
    schedule = {"schedule": {"name": "warmup_cosine", "warmup_epochs": 1}}
    clip = {"gradient_clip_algorithm": "norm", "max_norm": 0.5}
    one = train_tiny(training={**schedule, "batch_size": 16}, execution={"clip": clip})
    halves = run_of(training={**schedule, "batch_size": 8}, execution={"clip": clip, "devices": 2})
    words = {
        "run": halves.model_dump(mode="json"),
        "splits": {split: str(path) for split, path in tiny_dataset.splits.items()},
        "dataset": str(tiny_dataset.dataset),
        "folder": str(tmp_path / "two"),
    }
    script = tmp_path / "child.py"  # DDP starts it anew.
    script.write_text(CHILD)
    command = [sys.executable, script, json.dumps(words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "two/run.json").read_text())
    assert (two["outcome"], two["steps"]) == ("completed", one.run["steps"])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "two/history.csv"), one.history, rtol=1e-3)
    mine, other = load_file(tmp_path / "two/last.safetensors"), load_file(one.outputs["last"])
    for name, weight in other.items():
        torch.testing.assert_close(mine[name], weight, rtol=1e-3, atol=1e-4)
    assert {p.name for p in (tmp_path / "two").iterdir()} == {p.name for p in one.folder.iterdir()}
