"""From what was asked on the command line to one frozen block of settings; no default twice."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ptycho_torch.config.arms import derive
from ptycho_torch.config.base import mistake
from ptycho_torch.config.read import read_study
from ptycho_torch.config.scan import FitSettings, InferSettings, Scale
from ptycho_torch.config.variants import merge
from ptycho_torch.runtime.errors import InputError, nearest

_BLOCKS = ("generator", "training", "execution")
_CLIP_KEYS = {"norm": "max_norm", "value": "max_value", "agc": "max_ratio"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Options of a training; None, also inside the blocks: not said."""

    name: str
    config: Path | None = None
    arm: str | None = None
    seed: int = 0
    groups: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    generator: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float | None = None
    clip: str | None = None
    clip_value: float | None = None


def resolve(asked: Asked) -> FitSettings:
    """Return the settings in force: an arm's of a study, or the defaults, with options over them.

    Raises
    ------
    InputError
        If an arm is unknown, or a setting impossible; names the option's block and key.
    """
    base: dict[str, Any]
    if (asked.config is None) != (asked.arm is None):
        raise InputError("--config and --arm belong together: a study's file and one of its arms")
    if asked.config is not None and asked.arm is not None:
        study = read_study(asked.config)
        if asked.arm not in study.arms:
            raise InputError(
                f"{asked.config}: has no arm '{asked.arm}'{nearest(asked.arm, list(study.arms))}"
            )
        base, arm = derive(study).blocks[asked.arm], asked.arm
    else:
        defaults = FitSettings(name="defaults").model_dump()
        base, arm = {block: defaults[block] for block in _BLOCKS}, "file"
    over = {block: _said(getattr(asked, block)) for block in _BLOCKS}
    if "object_big" in over["training"] and asked.groups.get("gridsize", 1) == 1:
        raise InputError("--object-big and its contrary are of groups: --gridsize 2")
    if asked.learning_rate is not None:
        over["training"]["optimizer"] = {
            **base["training"]["optimizer"], "learning_rate": asked.learning_rate
        }  # fmt: skip
    if clip := _clip(asked):
        over["execution"]["clip"] = clip
    settings = {
        "name": dataset_name(asked.name),
        "arm": arm,
        "seed": asked.seed,
        "groups": _said(asked.groups),
        **_said(asked.data),
        **{block: merge(base[block], over[block], (block,)) for block in _BLOCKS},
    }
    try:
        return FitSettings.model_validate(settings)
    except ValidationError as error:
        raise mistake("settings", error) from None


def infer_settings(*, scale: str, **others: Any) -> InferSettings:
    """Return the settings of an inference; `scale` is a word or a number.

    Raises
    ------
    InputError
        If one is impossible; names it.
    """
    value: str | float = scale
    if scale not in ("auto", "stored", "measured"):
        try:
            value = TypeAdapter(Scale).validate_python(_number(scale))
        except ValueError:
            raise InputError(
                f"--scale {scale}: expected auto, stored, measured, or a number from 1e-12 to 1e12"
            ) from None
    try:
        return InferSettings.model_validate({"scale": value, **others})
    except ValidationError as error:
        raise mistake("settings", error) from None


def _number(text: str) -> float:
    # float() takes digits of other scripts, and lines between them.
    if not re.fullmatch(r"[0-9.eE+-]+", text):
        raise ValueError(text)
    return float(text)


def dataset_name(file: str) -> str:
    """Return a name for the data in a file, fit to be a folder's."""
    stem = re.sub(r"[^A-Za-z0-9_.\-]", "-", file.split(".")[0]).lstrip("._-")
    return stem[:60] or "data"


def _said(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if value is not None}


def _clip(asked: Asked) -> dict[str, Any] | None:
    if asked.clip is None:
        if asked.clip_value is not None:
            raise InputError("--clip-value is the bound of a rule: name it by --clip")
        return None
    if asked.clip == "none":
        bound = {} if asked.clip_value is None else {"clip_value": asked.clip_value}
        return {"gradient_clip_algorithm": "none", **bound}
    if asked.clip_value is None:
        raise InputError(f"--clip {asked.clip} needs its bound: --clip-value")
    return {"gradient_clip_algorithm": asked.clip, _CLIP_KEYS[asked.clip]: asked.clip_value}
