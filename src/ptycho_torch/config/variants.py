"""What sweeps, the stress stage and depth change of an arm: names, grids, keys; no settings yet."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from ptycho_torch.config.base import value_text
from ptycho_torch.runtime.errors import nearest

BLOCKS = ("generator", "training", "execution")
"""Blocks of a study that decide a run; their keys can be swept."""

DEPTH = "generator.fno_blocks"
"""Key that Stage B, the pivot, the crash hunt and the stress stage change."""

# Names become folders; the longest that common file systems take is 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,119}")


class Variant(NamedTuple):
    """An arm, `base`, with some settings changed: full key, `execution.clip.max_norm` -> value."""

    base: str
    changes: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The base's name, and the last part of each key with its value."""
        return "-".join([self.base, *(f"{key}-{value}" for key, value in self._short())])

    def label(self) -> str:
        """Return what is changed, in words: `max_norm 5`."""
        return ", ".join(f"{key} {value}" for key, value in self._short())

    def _short(self) -> Iterator[tuple[str, str]]:
        for key, value in self.changes:
            yield key.removesuffix(".name").rsplit(".", 1)[-1], value_text(value)

    def overrides(self) -> dict[str, Any]:
        """Return the changes as nested blocks."""
        nested: dict[str, Any] = {}
        for key, value in self.changes:
            *path, leaf = key.split(".")
            reduce(lambda block, step: block.setdefault(step, {}), path, nested)[leaf] = value
        return nested


def sweep_variants(
    base: str, sweep: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]
) -> list[Variant]:
    """Return the variants of a sweep of an arm with these blocks, the last key varying fastest."""
    keys = [_full_key(key, settings) for key in sweep]
    if len(set(keys)) < len(keys):
        raise ValueError(f"{' and '.join(sweep)} are the same setting; name it once")
    grid = itertools.product(*sweep.values())
    variants = [Variant(base, tuple(zip(keys, values, strict=True))) for values in grid]
    for variant in variants:
        if not _NAME.fullmatch(variant.name):
            raise ValueError(
                f"a run's folder cannot be called '{variant.name}'; sweep over plain numbers and "
                "words, or write an arm for each value"
            )
    return variants


def _full_key(key: str, settings: Mapping[str, Any]) -> str:
    """Return the one key of `settings` that is, or ends with, `key`."""
    keys = list(_leaves(settings))
    if key in keys:
        return key
    found = [full for full in keys if full.endswith(f".{key}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"'{key}' is not clear; it may be {' or '.join(found)}")
    ends = [full.split(".", n)[-1] for full in keys for n in range(full.count(".") + 1)]
    same = [end for end in dict.fromkeys(ends) if end.count(".") == key.count(".")]
    raise ValueError(f"there is no setting '{key}'{nearest(key, same or keys)}")


def _leaves(block: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"


def numbers_of(variants: list[Variant]) -> list[float]:
    """Return the values of variants of one arm and key; empty if they are no numbers, of several
    arms or of several keys, which have no order in which a trend could be asked for."""
    values = [variant.changes[0][1] for variant in variants if len(variant.changes) == 1]
    several = len({variant.base for variant in variants}) > 1
    if several or not all(type(value) in (int, float) for value in values):
        return []
    return [float(value) for value in values]
