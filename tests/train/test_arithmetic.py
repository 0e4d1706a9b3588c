"""Precision, compilation and recorded steps: settings that reach the steps, and what they change."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.train import graph
from ptycho_torch.train.module import FitModule


def test_bf16_trains_in_bf16_and_measures_in_fp32(train_tiny, monkeypatch):
    seen = {True: set(), False: set()}
    plain = FitModule.forward

    def forward(self, amplitude_BCHW):
        hook = self.network.head.register_forward_hook(
            lambda module, inputs, raw: seen[self.training].add(raw.dtype)
        )
        patches = plain(self, amplitude_BCHW)
        hook.remove()
        assert patches.dtype == torch.complex64
        return patches

    monkeypatch.setattr(FitModule, "forward", forward)
    base = train_tiny(folder="fp32")
    assert seen == {True: {torch.float32}, False: {torch.float32}}
    seen[True].clear()
    reduced = train_tiny(folder="bf16", execution={"precision": "bf16"})
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert reduced.run["outcome"] == "completed"
    # Eight bits of mantissa: near, and not the same.
    assert reduced.run["first_loss"] != base.run["first_loss"]
    assert reduced.run["first_loss"] == pytest.approx(base.run["first_loss"], rel=2e-2)
    assert reduced.run["best_val_loss"] == pytest.approx(base.run["best_val_loss"], rel=0.3)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_network_is_compiled_where_it_is_asked_for(train_tiny, monkeypatch, compiled):
    """The C++ compiler is left out: what it makes is compared in benchmarks/training_step.py."""
    calls = []
    plain = torch.nn.Module.compile

    def compile(self, *args, **kwargs):
        calls.append(type(self).__name__)
        plain(self, *args, backend="eager", **kwargs)

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    execution = {"compile": compiled}
    found = train_tiny(training={"epochs": 1}, execution=execution)
    assert calls == (["FourierUNet"] if compiled else [])
    assert found.run["outcome"] == "completed"
    # Names of weights are those of the network that was not compiled.
    assert "head.weight" in load_file(found.outputs["last"])


def test_checkpointing_reaches_the_run_and_changes_no_number(train_tiny, monkeypatch):
    from ptycho_torch.networks import checkpointing

    again = []
    plain = checkpointing.checkpoint
    monkeypatch.setattr(
        checkpointing, "checkpoint", lambda *a, **k: again.append(1) or plain(*a, **k)
    )
    base = train_tiny(folder="whole")
    assert not again
    found = train_tiny(folder="parts", execution={"checkpointing": True})
    assert again
    for name in ("last", "history", "patches"):
        assert found.outputs[name].read_bytes() == base.outputs[name].read_bytes(), name


class Recording:
    """Stands in for CUDA's graphs: keeps what is called while it records, and does it again."""

    current = None

    def __init__(self):
        self.calls = []

    def pool(self):
        return "pool"

    def replay(self):
        for call in self.calls:
            call()


@pytest.fixture
def recorder(monkeypatch):
    class Context:
        def __init__(self, graph, pool=None):
            self.graph = graph

        def __enter__(self):
            Recording.current = self.graph

        def __exit__(self, *_):
            Recording.current = None

    class Stream:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait_stream(self, _):
            pass

    stand_in = SimpleNamespace(
        CUDAGraph=Recording,
        Stream=Stream,
        graph=Context,
        stream=lambda stream: stream,
        current_stream=Stream,
    )
    monkeypatch.setattr(graph.torch, "cuda", stand_in)


def test_a_recorded_step_takes_every_step_once_with_its_own_batch(recorder):
    """A recording is not a step: that which is recorded must be replayed too, and none twice."""
    taken = []

    def step(index, look):
        def work():
            taken.append((index.tolist(), look))

        if Recording.current is None:
            work()
        else:
            Recording.current.calls.append(work)

    recorded = graph.RecordedStep(step, torch.device("cpu"))
    wanted = [([[i, i + 1]], i % 8 == 0) for i in range(20)]
    for index, look in wanted:
        recorded(torch.tensor(index), look)
    assert taken == wanted
