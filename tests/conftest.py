"""Fixtures shared by all tests: a tiny study, its dataset, and rule scripts run in process."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptycho_torch.config.read import load_yaml, parse_study

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def tiny() -> dict:
    """Settings of the smallest study, as plain data to be changed by a test."""
    return load_yaml(ROOT / "tests" / "tiny.yaml")


@pytest.fixture
def tiny_study(tiny):
    return parse_study(tiny, "tiny.yaml")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> SimpleNamespace:
    """The tiny study's dataset, simulated once: paths of its three splits and dataset.json."""
    from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset

    study = parse_study(load_yaml(ROOT / "tests" / "tiny.yaml"), "tiny.yaml")
    folder = tmp_path_factory.mktemp("tiny")
    splits = {split: folder / f"{split}.npz" for split in SPLITS}
    simulate_dataset(
        study.datasets["tiny"], name="tiny", splits=splits, summary=folder / "dataset.json"
    )
    return SimpleNamespace(splits=splits, dataset=folder / "dataset.json", folder=folder)


class Names(list):
    """Like Snakemake's Namedlist: items by position and by name."""

    def __init__(self, **items):
        super().__init__(items.values())
        self.__dict__.update(items)


@pytest.fixture
def run_script(tmp_path):
    """Run a rule script as Snakemake would, with a stand-in for its job."""

    def run(name, *, input=None, output=None, params=None, wildcards=None, threads=1):
        job = SimpleNamespace(
            input=Names(**{k: _text(v) for k, v in (input or {}).items()}),
            output=Names(**{k: str(tmp_path / v) for k, v in (output or {}).items()}),
            params=SimpleNamespace(**(params or {})),
            wildcards=SimpleNamespace(**(wildcards or {})),
            log=[str(tmp_path / "log.txt")],
            threads=threads,
        )
        runpy.run_path(
            str(ROOT / "workflow" / "scripts" / name),
            init_globals={"snakemake": job},
            run_name="__main__",
        )
        return job

    return run


def _text(value):
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else str(value)
