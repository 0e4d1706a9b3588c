"""Every setting does something: it is read; those of optimisers and judgements are flipped.

The settings are taken from the classes: a new one that nothing reads, or that judges and is not
flipped, fails. What each setting of plans, data and diagnoses does is a law of their rooms.
"""

import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import torch

from ptycho_torch import config
from ptycho_torch.config.base import Settings

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src" / "ptycho_torch"
sys.path.insert(0, str(HERE))
from flips import FLIPS  # noqa: E402


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
                    yield f"{kind.__name__}.{name}", field.annotation


def test_every_setting_is_read():
    """As an attribute or by its name, in the package or the workflow; a kind is matched by class."""
    files = [*SOURCES.rglob("*.py"), *SOURCES.rglob("*.j2")]
    files += (SOURCES.parents[1] / "workflow").rglob("*.smk")
    code = "\n".join(
        re.sub(r"^    \w+: .*$", "", path.read_text(encoding="utf-8"), flags=re.M)
        if path.parent.name == "config"
        else path.read_text(encoding="utf-8")
        for path in files
    )
    every = dict(leaves())
    assert len(every) > 130
    for name, annotation in every.items():
        key = name.partition(".")[2]
        is_kind = get_origin(annotation) is Literal and len(get_args(annotation)) == 1
        read = re.search(rf"\.{key}\b|[\"']{key}[\"']", code)
        assert is_kind or read, f"{name}: nothing reads it"


def test_what_is_flipped_is_a_setting_and_all_that_judge_are_flipped():
    every = set(dict(leaves()))
    assert not set(FLIPS) - every
    judging = ("Evaluation", "Statistics", "Success", "Depth", "Decision")
    planning = {"DepthSettings.fno_blocks", "DepthSettings.seeds"}
    judge = {name for name in every if name.partition("Settings.")[0] in judging}
    assert planning < judge <= set(FLIPS) | planning


@pytest.mark.parametrize("name", FLIPS)
def test_a_flip_is_seen(name):
    torch.set_num_threads(1)  # The least for arrays as small as these; flips may set others.
    settings, key, value, result = FLIPS[name]
    assert result(settings) != result(settings.model_copy(update={key: value}))
