"""An arm with some settings changed: which setting a key means, and what the variant is called."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptycho_torch.config.study import value_text
from ptycho_torch.runtime.errors import nearest

BLOCKS = ("generator", "training", "execution")
"""Blocks of a study that decide a run; their keys can be swept."""

# Blocks with a kind: an arm that names another kind replaces the whole block,
# since the keys of one kind mean nothing to another.
_KINDS: dict[tuple[str, ...], str] = {
    ("execution", "clip"): "gradient_clip_algorithm",
    ("training", "optimizer"): "name",
    ("training", "schedule"): "name",
}
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
        return "-".join([self.base, *(f"{key}-{value}" for key, value in self._short())])

    def label(self) -> str:
        """Return what is changed, in words: `max_norm 5`."""
        return ", ".join(f"{key} {value}" for key, value in self._short())

    def _short(self) -> list[tuple[str, str]]:
        return [(key.rsplit(".", 1)[-1], value_text(value)) for key, value in self.changes]

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


def merge(
    base: Mapping[str, Any], override: Mapping[str, Any], where: tuple[str, ...]
) -> dict[str, Any]:
    """Return `base` with `override` laid over it, block by block."""
    kind = _KINDS.get(where)
    if kind is not None and kind in override:
        return dict(override)
    merged = dict(base)
    for key, value in override.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merge(below, value, (*where, key))
        merged[key] = value
    return merged


def numbers_of(variants: list[Variant]) -> list[float]:
    """Return the values of variants of one key; empty if they are no numbers, or of several keys.

    Words, and grids of several keys, have no order in which a trend could be asked for.
    """
    values = [variant.changes[0][1] for variant in variants if len(variant.changes) == 1]
    if not values or any(type(value) not in (int, float) for value in values):
        return []
    return [float(value) for value in values]


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
    found = [full for full in keys if f".{full}".endswith(f".{key}")]
    if f".{key}".endswith("clip.value") or key == "value":
        # The bound of the arm's clipping rule, whatever the rule calls it.
        found = [full for full in keys if full.startswith("execution.clip.max_")]
    if len(found) > 1 and key not in found:
        raise ValueError(f"'{key}' is not clear; it may be {' or '.join(found)}")
    if found:
        return key if key in found else found[0]
    if key.startswith(("dataset", "evaluation", "statistics")):
        raise ValueError(
            f"'{key}' is no setting of a run; a sweep varies {', '.join(BLOCKS)}. For other "
            "data write an entry of datasets for each value, and name it in a sweep's `dataset`"
        )
    ends = [full.split(".", n)[-1] for full in keys for n in range(full.count(".") + 1)]
    same = [end for end in dict.fromkeys(ends) if end.count(".") == key.count(".")]
    raise ValueError(f"there is no setting '{key}'{nearest(key, same or keys)}")


def _leaves(block: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"
