"""What comes with Lightning's Trainer: any Trainer, loggers, devices that share a run; precision,
compilation, recorded steps and threads: what they change, and what they must not."""

import contextlib
import json
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file

from ptycho_torch.data.batch import Batch
from ptycho_torch.data.module import PtychoDataModule
from ptycho_torch.networks import generators
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.train import device as devices
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule


def test_any_trainer_trains_the_same_and_ends_a_bad_run(run_of, tiny_data, tmp_path, plant_losses):
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


def test_what_changes_no_result_changes_none(train_tiny, plain, monkeypatch):
    """`checkpointing` computes activations again."""
    again = Mock(wraps=generators.checkpoint)
    monkeypatch.setattr(generators, "checkpoint", again)
    more = {"checkpointing": True, "loggers": ["csv", "tensorboard"]}
    logged = train_tiny(execution=more)
    assert again.called
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
from pathlib import Path
from ptycho_torch.train.run import forget_checkpoints, train_run

given = json.loads(sys.argv[1])
train_run(RunSettings.model_validate(given.pop("run")), threads=1, **given)
forget_checkpoints(Path(given["folder"]))
"""


def test_two_processes_are_one_with_twice_the_batch(run_of, train_tiny, tiny_dataset, tmp_path):
    """Each takes half of every step; the other half's gradients come by DDP (gloo)."""
    schedule = {"schedule": {"name": "warmup_cosine", "warmup_epochs": 1}}
    clip = {"gradient_clip_algorithm": "norm", "max_norm": 0.5}
    one = train_tiny(training={**schedule, "batch_size": 16}, execution={"clip": clip})
    halves = run_of(training={**schedule, "batch_size": 8}, execution={"clip": clip, "devices": 2})
    words = vars(tiny_dataset) | {"run": halves.model_dump(mode="json"), "folder": tmp_path / "two"}
    script = tmp_path / "child.py"  # DDP starts it anew.
    script.write_text(CHILD)
    command = [sys.executable, script, json.dumps(words, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "two/run.json").read_text())
    assert (two["outcome"], two["steps"]) == ("completed", one.run["steps"])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "two/history.csv"), one.history, rtol=1e-3)
    mine, other = load_file(tmp_path / "two/last.safetensors"), load_file(one.outputs["last"])
    for name, weight in other.items():
        torch.testing.assert_close(mine[name], weight, rtol=1e-3, atol=1e-4)
    assert {p.name for p in (tmp_path / "two").iterdir()} == {p.name for p in one.folder.iterdir()}


def test_bf16_trains_in_bf16_and_measures_in_fp32(train_tiny, plain, monkeypatch):
    seen = set()
    original = PtychoModule.forward

    def forward(self, amplitude_BCHW):
        hook = self.network.head.register_forward_hook(
            lambda module, inputs, raw: seen.add((self.training, raw.dtype))
        )
        patches = original(self, amplitude_BCHW)
        hook.remove()
        assert patches.dtype == torch.complex64
        return patches

    monkeypatch.setattr(PtychoModule, "forward", forward)
    reduced = train_tiny(execution={"precision": "bf16"}).run
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    # Eight bits of mantissa: near, and not the same.
    assert reduced["first_loss"] != plain.run["first_loss"]
    assert reduced["first_loss"] == pytest.approx(plain.run["first_loss"], rel=2e-2)
    assert reduced["best_val_loss"] == pytest.approx(plain.run["best_val_loss"], rel=0.3)


def test_a_network_is_compiled_where_it_is_asked_for(train_tiny, monkeypatch):
    """The C++ compiler is left out: what it makes is compared in benchmarks/training_step.py."""
    calls = []
    original = torch.nn.Module.compile

    def compile(self, *args, **kwargs):
        calls.append(type(self).__name__)
        original(self, *args, backend="eager", **kwargs)

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    found = train_tiny(training={"epochs": 1}, execution={"compile": True})
    assert calls == ["FourierUNet"] and found.run["outcome"] == "completed"
    # Names of weights are those of the network that was not compiled.
    assert "head.weight" in load_file(found.outputs["last"])


def test_a_recorded_step_takes_every_step_once_with_its_own_batch(monkeypatch):
    """A stand-in for CUDA's graphs keeps what is called while it records, and does it again: what is
    recorded must be replayed too, and no step is taken twice."""
    recording, taken = [], []

    @contextlib.contextmanager
    def record(graph, pool=None):
        recording.append(graph)
        yield
        recording.pop()

    def graph():
        calls = []
        return SimpleNamespace(calls=calls, pool=str, replay=lambda: [call() for call in calls])

    cuda = Mock(CUDAGraph=graph, graph=record, stream=lambda _: contextlib.nullcontext())
    monkeypatch.setattr(devices.torch, "cuda", cuda)

    def step(batch, look):
        def work():
            taken.append((batch.amplitude_BCHW.tolist(), look))

        recording[-1].calls.append(work) if recording else work()

    recorded = devices.RecordedStep(step)
    expected = [([i, i + 1], i % 8 == 0) for i in range(20)]
    for values, look in expected:
        recorded(Batch(torch.tensor(values)), look)
    assert taken == expected


def test_the_fastest_device_there_is_and_none_that_is_not(monkeypatch, run_of, caplog):
    """Steps are recorded on a GPU alone, and never those of merged groups: else it is said."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = [choose_device(name).type for name in ("auto", "mps", "cpu")]
    assert found == ["mps", "mps", "cpu"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="execution.accelerator 'gpu': torch .* no such"):
        choose_device("gpu")
    execution = run_of(execution={"accelerator": "auto", "cuda_graphs": True}).execution
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    cases = ((cuda, False), (cpu, False), (cuda, True))
    found = [devices.records_steps(execution, device, merges=merges) for device, merges in cases]
    assert found == [True, False, False]
    assert "the device is cpu" in caplog.text and "groups are merged" in caplog.text


@pytest.mark.parametrize(("deterministic", "precision"), [(True, "fp32"), (False, "tf32")])
def test_arithmetic_is_set_and_put_back(train_tiny, monkeypatch, deterministic, precision):
    def state():
        strict = torch.are_deterministic_algorithms_enabled()
        return strict, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def look(*_):
        assert state() == (deterministic, precision == "tf32", precision == "tf32")
        raise KeyError

    before = state()
    monkeypatch.setattr(PtychoModule, "training_loss", look)
    with pytest.raises(KeyError):
        train_tiny(execution={"deterministic": deterministic, "precision": precision})
    assert state() == before


def test_training_on_two_threads_differs_by_rounding_alone(run_of, tiny_data):
    """Sums in another order: 1e-4 of the loss after an epoch; each number repeats itself."""
    losses, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            module = PtychoModule(run_of(training={"epochs": 1, "batch_size": 40}), tiny_data)
            fit(module, tiny_data.train, tiny_data.validation)
            losses.append(module.history.rows[-1]["mae_val_loss"])
    finally:
        torch.set_num_threads(before)
    one, two, again = losses
    assert two == again and one == pytest.approx(two, rel=1e-4)
