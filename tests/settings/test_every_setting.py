"""Every setting does something: each is flipped, and its effect is seen.

The settings are taken from the classes: a new one without a flip fails. What an older test flips
already is named instead of flipped twice; that test must be there.
"""

import ast
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from ptycho_torch import config
from ptycho_torch.config.base import Settings

HERE = Path(__file__).parent
TESTS = HERE.parent
sys.path.insert(0, str(HERE))
MODULES = [importlib.import_module(path.stem) for path in sorted(HERE.glob("flips_*.py"))]
FLIPS = {name: flip for module in MODULES for name, flip in module.FLIPS.items()}
HELD = {name: test for module in MODULES for name, test in getattr(module, "HELD", {}).items()}


def classes(kind=Settings):
    for below in kind.__subclasses__():
        yield below
        yield from classes(below)


def holds_settings(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return True
    return any(holds_settings(part) for part in get_args(annotation))


def leaves():
    """Every setting that is a value and no block, where it is written first: `Class.name`."""
    for module in pkgutil.iter_modules(config.__path__):
        importlib.import_module(f"ptycho_torch.config.{module.name}")
    for kind in classes():
        if kind.__module__.startswith("ptycho_torch.config."):
            for name in kind.__annotations__:
                field = kind.model_fields.get(name)
                if field is not None and not holds_settings(field.annotation):
                    yield f"{kind.__name__}.{name}"


def test_every_setting_is_flipped():
    every = set(leaves())
    assert len(every) > 150
    assert every - set(FLIPS) - set(HELD) == set(), "a setting without a flip may do nothing"
    assert (set(FLIPS) | set(HELD)) - every == set(), "a flip of what is no setting"
    assert set(FLIPS) & set(HELD) == set()


def test_tests_that_hold_a_setting_are_there():
    for name, test in HELD.items():
        file, _, function = test.partition("::")
        found = {
            node.name
            for node in ast.parse((TESTS / file).read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        assert function in found, f"{name}: {test}"


@pytest.fixture(scope="module")
def tools(tmp_path_factory, tiny_dataset, made):
    """What flips share: a dataset and its splits, a scan, a study; results are kept."""
    from ptycho_torch.config.read import load_yaml, parse_study
    from ptycho_torch.data.dataset_file import read_split

    tiny = load_yaml(TESTS / "tiny.yaml")
    found = SimpleNamespace(
        folder=tmp_path_factory.mktemp("flips"),
        dataset=tiny_dataset,
        tiny=tiny,
        study=parse_study(tiny, "t"),
        trained={},
        planted={},
        jobs={},
        reruns=_load(TESTS.parent / "docs" / "reruns.py"),
        scan=made.a_scan(size=(30, 32)),
    )
    found.splits = {1: _few(read_split, tiny_dataset)}
    found.findings, found.report = _findings(found.folder)
    found.said = found.report(found.findings)
    import flips_diagnosing as diagnosing

    found.subject = diagnosing.subjects(found, diagnosing.diagnostics())[0]
    return found


def _load(path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _findings(folder):
    """What a planted Stage A shows, and what puts it into words."""
    from ptycho_torch.report.summarise.stage import put_into_words

    planting = _load(TESTS / "report" / "conftest.py")
    given = planting.write_study(folder / "planted", planting.Plan(seeds=[0, 1]))
    return planting.work_out_of(given), lambda found: put_into_words(found)[1]


def _few(read_split, dataset):
    """The tiny study's training and validation splits, 25 groups of each."""
    from dataclasses import replace

    made = []
    for name in ("train", "validation"):
        split = read_split(dataset.splits[name], patch_px=16)
        counted = len(split.arrays["diffraction"])
        few = {k: v[:25] if v.ndim and len(v) == counted else v for k, v in split.arrays.items()}
        made.append(replace(split, arrays=few))
    return tuple(made)


@pytest.mark.parametrize("name", FLIPS)
def test_a_flip_is_seen(tools, name):
    torch.set_num_threads(1)  # The least for arrays as small as these; flips may set others.
    FLIPS[name](tools)
