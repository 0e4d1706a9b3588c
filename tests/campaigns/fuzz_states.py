"""Target of `fuzz_readers`: the kept state of a training, damaged and signed anew.

A case that is taken up goes on for an epoch: what was let in must do no harm later either.
"""

import json
import random
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import fuzz_mutate as damage
from fuzz_tables import ROOT, Target

NAME = "resume.safetensors"


@cache
def tiny_run() -> tuple[Any, Any, Any]:
    """Return the tiny study's run of two epochs, and its training and validation splits."""
    from ptycho_torch.config.arms import run_settings
    from ptycho_torch.config.read import load_yaml, parse_study
    from ptycho_torch.data.dataset_file import read_split
    from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset

    data = load_yaml(ROOT / "tests" / "tiny.yaml")
    schedule = {"name": "plateau", "factor": 0.5, "patience_epochs": 1}
    data["training"] |= {"epochs": 2, "schedule": schedule, "intensity_scale": "learned"}
    study = parse_study(data, "tiny.yaml")
    with TemporaryDirectory() as place:
        splits = {name: Path(place) / f"{name}.npz" for name in SPLITS}
        simulate_dataset(
            study.datasets["tiny"], name="tiny", splits=splits, summary=Path(place) / "dataset.json"
        )
        train, validation = (read_split(splits[s], patch_px=16) for s in ("train", "validation"))
    return run_settings(study, "tiny", "control", 0), train, validation


def parts() -> tuple[list[Any], Any, Any]:
    """Return what `fit_seeds` takes, fresh."""
    from ptycho_torch.data.batch import groups_of_split
    from ptycho_torch.train.fit import build_module

    run, train, validation = tiny_run()
    module = build_module(run, train, validation)
    return [module], groups_of_split(train), groups_of_split(validation)


def write_state(folder: Path) -> None:
    """Train both epochs, and keep the state of the first."""
    from ptycho_torch.train import loop, resume

    end_epoch = resume.Keeper.end_epoch

    def once(self: Any, learners: Any, epochs: int) -> None:
        if epochs == 1:
            end_epoch(self, learners, epochs)

    with (
        mock.patch.object(resume, "SHARE", float("inf")),
        mock.patch.object(resume.Keeper, "end_epoch", once),
    ):
        loop.fit_seeds(*parts(), keep=folder / NAME)


def read_state(folder: Path) -> None:
    import torch

    from ptycho_torch.train import loop, resume
    from ptycho_torch.train.learner import Learner

    modules, train, validation = parts()
    identity = resume.identity_of(modules, train, validation, torch.device("cpu"))
    keeper = resume.Keeper(folder / NAME, identity)
    keeper.take_up([Learner(module, steps_per_epoch=3) for module in modules])
    if keeper.epochs:
        (fitted,) = loop.fit_seeds(*parts(), keep=folder / NAME)
        assert fitted.stopped or len(fitted.history.rows) == 2
        assert json.dumps(fitted.history.rows) and fitted.last.weights.keys()


def damage_state(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Return a state whose JSON, header or bytes were changed."""
    if rng.random() < 0.4:
        return damage.mutate_tensors(data, rng, other)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header["__metadata__"]
    facts = json.loads(metadata["state"])
    # Of the rest, what names the training is compared as a whole: one change there is like another.
    deep = rng.random() < 0.8
    part = {key: value for key, value in facts.items() if (key == "learners") == deep}
    changed = damage.mutate_json(json.dumps(part).encode(), rng).decode("utf-8", "replace")
    with suppress(ValueError, TypeError):
        changed = json.dumps({**facts, **json.loads(changed)})
    metadata["state"] = changed
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def sign_state(folder: Path) -> None:
    """Sign as a hostile writer would."""
    from safetensors import SafetensorError, safe_open

    from ptycho_torch.files import state as io_state

    path = folder / NAME
    data = path.read_bytes()
    with suppress(SafetensorError, KeyError, OSError):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        metadata = header["__metadata__"]
        metadata["sha256"] = io_state._digest(tensors, metadata["state"])
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


STATE = Target("state", write_state, read_state, (damage_state,), after=sign_state, share=0.15)
