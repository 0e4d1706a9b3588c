"""Arms that are derived from others by changing settings: their names, and what they change."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptycho_torch.runtime.errors import nearest

BLOCKS = ("generator", "training", "execution")
"""Blocks of a study that decide a run; their keys can be swept."""

# Names become folders; the longest that common file systems take is 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,119}")


@dataclass(frozen=True, slots=True)
class Variant:
    """An arm with some settings changed."""

    base: str
    """Entry of the block `arms`."""

    changes: tuple[tuple[str, Any], ...]
    """Full key, such as `execution.clip.max_norm` -> value."""

    @property
    def name(self) -> str:
        """The base's name, and the last part of each key with its value."""
        parts = [self.base]
        for key, value in self.changes:
            parts += [key.rsplit(".", 1)[-1], value_text(value)]
        return "-".join(parts)

    def label(self) -> str:
        """Return what is changed, in words: `max_norm 5`."""
        return ", ".join(f"{k.rsplit('.', 1)[-1]} {value_text(v)}" for k, v in self.changes)

    def overrides(self) -> dict[str, Any]:
        """Return the changes as nested blocks."""
        nested: dict[str, Any] = {}
        for key, value in self.changes:
            *path, leaf = key.split(".")
            block = nested
            for step in path:
                block = block.setdefault(step, {})
            block[leaf] = value
        return nested


def value_text(value: Any) -> str:
    """Return a setting's value as part of a name: 5, 0.001, agc, none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    # A plus sign is no part of a folder's name: 1e20.
    return f"{value:.12g}".replace("+", "") if isinstance(value, float) else str(value)


def grid(
    base: str, sweep: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]
) -> list[Variant]:
    """Return the variants of a sweep, the last key varying fastest.

    Parameters
    ----------
    base
        Name of the arm that is varied.
    sweep
        Key -> values; leading parts of a key may be left out.
    settings
        The arm's blocks in force, nested.

    Raises
    ------
    ValueError
        If a key is unknown or not clear, or a value cannot be part of a name.
    """
    keys = [full_key(key, settings) for key in sweep]
    if len(set(keys)) < len(keys):
        raise ValueError(f"{' and '.join(sweep)} are the same setting; name it once")
    variants = [
        Variant(base, tuple(zip(keys, values, strict=True)))
        for values in itertools.product(*sweep.values())
    ]
    for variant in variants:
        if not _NAME.fullmatch(variant.name):
            raise ValueError(
                f"a run's folder cannot be called '{variant.name}'; sweep over plain numbers and "
                "words, or write an arm for each value"
            )
    return variants


def full_key(key: str, settings: Mapping[str, Any]) -> str:
    """Return the one key of `settings` that is, or ends with, `key`.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    keys = list(_leaves(settings))
    if key in keys:
        return key
    if f"execution.{key}".endswith("execution.clip.value"):
        return _clip_bound(key, keys)
    found = [full for full in keys if full.endswith(f".{key}")]
    if not found and key.startswith(("dataset", "evaluation", "statistics")):
        raise ValueError(
            f"'{key}' is no setting of a run; a sweep varies {', '.join(BLOCKS)}. For other "
            "data write an entry of datasets for each value, and name it in a sweep's `dataset`"
        )
    if not found:
        raise ValueError(f"there is no setting '{key}'{_near(key, keys)}")
    if len(found) > 1:
        raise ValueError(f"'{key}' is not clear; it may be {' or '.join(found)}")
    return found[0]


def _clip_bound(key: str, keys: list[str]) -> str:
    """Return the key of the bound of the arm's clipping rule, whatever the rule calls it."""
    bounds = [full for full in keys if full.startswith("execution.clip.max_")]
    if not bounds:
        raise ValueError(
            f"there is no setting '{key}': this arm does not clip; sweep one with a clipping rule"
        )
    return bounds[0]


def _near(key: str, keys: list[str]) -> str:
    short = {full.split(".", cut)[-1]: full for full in keys for cut in range(full.count(".") + 1)}
    return nearest(key, list(short)) if key.split(".")[0] not in BLOCKS else nearest(key, keys)


def _leaves(block: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"
