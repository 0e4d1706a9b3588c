"""Where and how a run is computed reaches torch, and torch is left as it was."""

import logging

import pytest
import torch
from torch.utils import deterministic

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.gpus import choose_device
from ptycho_torch.train.device import numerics, records_steps, say_precision


@pytest.fixture
def execution(tiny):
    def make(**changes):
        tiny["execution"] |= {"accelerator": "auto", **changes}
        return run_settings(parse_study(tiny, "x"), "tiny", "control", 0).execution

    return make


def state():
    return (
        torch.are_deterministic_algorithms_enabled(),
        deterministic.fill_uninitialized_memory,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


@pytest.mark.parametrize("found", [(True, False), (False, True), (False, False)])
def test_the_fastest_device_there_is_and_none_that_is_not(monkeypatch, found):
    cuda, mps = found
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    best = "cuda" if cuda else "mps" if mps else "cpu"
    assert choose_device("auto").type == best
    assert choose_device("cpu").type == "cpu"
    for name in ("gpu", "mps"):
        if best == "cpu" or (name == "mps" and not mps):
            with pytest.raises(
                InputError, match=f"execution.accelerator '{name}': torch .* no such"
            ):
                choose_device(name)
        else:
            assert choose_device(name).type == best


@pytest.mark.parametrize(
    ("changes", "inside"),
    [
        ({"deterministic": True}, (True, False, False, False)),
        ({"deterministic": False}, (False, False, False, False)),
        ({"precision": "tf32"}, (True, False, True, True)),
    ],
)
def test_arithmetic_is_set_for_a_training_and_put_back(execution, changes, inside):
    before = state()
    settings = execution(**changes)

    def train():
        with numerics(settings, torch.device("cpu")):
            assert state() == inside
            raise KeyError

    with pytest.raises(KeyError):
        train()
    assert state() == before


def test_what_a_device_cannot_do_is_said(execution, caplog, monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    asked = execution(cuda_graphs=True)
    with caplog.at_level(logging.WARNING):
        assert records_steps(asked, cuda, merges=False)
        assert not caplog.records
        assert not records_steps(asked, cpu, merges=False)
        assert not records_steps(asked, cuda, merges=True)
        say_precision(execution(precision="tf32"), cpu)
        monkeypatch.setattr("ptycho_torch.train.device._cpu_has_bf16", lambda: False)
        say_precision(execution(precision="bf16"), cpu)
        monkeypatch.setattr("ptycho_torch.train.device._cpu_has_bf16", lambda: True)
        say_precision(execution(precision="bf16"), cpu)
    said = [record.message for record in caplog.records]
    assert ["the device is cpu" in said[0], "groups are merged" in said[1]] == [True, True]
    assert ["tf32 has no effect on cpu" in said[2], "imitated" in said[3]] == [True, True]
    assert len(said) == 4
