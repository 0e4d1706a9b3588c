"""Precision, compilation, recorded steps and threads: what they change, and what they must not."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from ptycho_torch.data.batch import Batch
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.train import device as devices
from ptycho_torch.train.device import records_steps
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule


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


class Recording:
    """Stands in for CUDA's graphs: keeps what is called while it records, and does it again."""

    current = None

    def __init__(self):
        self.calls = []
        self.pool, self.replay = str, lambda: [call() for call in self.calls]


def test_a_recorded_step_takes_every_step_once_with_its_own_batch(monkeypatch):
    """A recording is not a step: that which is recorded must be replayed too, and none twice."""

    @contextlib.contextmanager
    def recording(graph, pool=None):
        Recording.current = graph
        yield
        Recording.current = None

    stream = SimpleNamespace(wait_stream=lambda _: None)
    stand_in = SimpleNamespace(
        CUDAGraph=Recording, Stream=lambda: stream, graph=recording,
        stream=lambda _: contextlib.nullcontext(), current_stream=lambda: stream,
    )  # fmt: skip
    monkeypatch.setattr(devices.torch, "cuda", stand_in)
    taken = []

    def step(batch, look):
        def work():
            taken.append((batch.amplitude_BCHW.tolist(), look))

        Recording.current.calls.append(work) if Recording.current else work()

    recorded = devices.RecordedStep(step)
    expected = [([i, i + 1], i % 8 == 0) for i in range(20)]
    for values, look in expected:
        recorded(Batch(torch.tensor(values)), look)
    assert taken == expected


@pytest.mark.parametrize(
    ("name", "found"), [("auto", "mps"), ("mps", "mps"), ("cpu", "cpu"), ("gpu", None)]
)
def test_the_fastest_device_there_is_and_none_that_is_not(monkeypatch, name, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    if found:
        assert choose_device(name).type == found
        return
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="execution.accelerator 'gpu': torch .* no such"):
        choose_device(name)


@pytest.mark.parametrize(("deterministic", "precision"), [(True, "fp32"), (False, "tf32")])
def test_arithmetic_is_set_for_a_training_and_put_back(
    train_tiny, monkeypatch, deterministic, precision
):
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


def test_what_a_device_cannot_do_is_logged(run_of, caplog):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    execution = run_of(execution={"accelerator": "auto", "cuda_graphs": True}).execution
    assert records_steps(execution, cuda, merges=False) and not caplog.records
    assert not records_steps(execution, cpu, merges=False)
    assert not records_steps(execution, cuda, merges=True)
    parts = ("the device is cpu", "groups are merged")
    for part, record in zip(parts, caplog.records, strict=True):
        assert part in record.message


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
