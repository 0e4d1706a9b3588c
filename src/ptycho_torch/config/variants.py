"""What sweeps, the stress stage and depth change of an arm: names, grids, keys; no settings yet."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from ptycho_torch.config.base import value_text
from ptycho_torch.config.study import StressSettings
from ptycho_torch.runtime.errors import nearest

BLOCKS = ("generator", "training", "execution")
"""Blocks of a study that decide a run; their keys can be swept."""

DEPTH = "generator.fno_blocks"
"""Key that Stage B, the pivot, the crash hunt and the stress stage change."""

# Names become folders; the longest that common file systems take is 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,119}")


@dataclass(frozen=True, slots=True)
class Variant:
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

    def _short(self) -> list[tuple[str, str]]:
        keys = (key.removesuffix(".name").rsplit(".", 1)[-1] for key, _ in self.changes)
        return list(zip(keys, (value_text(value) for _, value in self.changes), strict=True))

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
    if f".{key}".endswith("clip.value") or key == "value":
        # The bound of the arm's clipping rule, whatever the rule calls it.
        found = [full for full in keys if full.startswith("execution.clip.max_")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"'{key}' is not clear; it may be {' or '.join(found)}")
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


def numbers_of(variants: list[Variant]) -> list[float]:
    """Return the values of variants of one arm and key; empty if they are no numbers.

    Words, several arms and grids of several keys have no order in which a trend could be asked for.
    """
    values = [variant.changes[0][1] for variant in variants if len(variant.changes) == 1]
    several = len({variant.base for variant in variants}) > 1
    if several or not values or any(type(value) not in (int, float) for value in values):
        return []
    return [float(value) for value in values]


def stress_variants(
    stress: StressSettings | None, blocks: Mapping[str, Any]
) -> Iterator[tuple[Variant, tuple[str, int, float]]]:
    """Yield what the stress stage changes of an arm, less what the arm has anyway, with its arm,
    depth and learning rate."""
    if stress is None:
        return
    for arm, depth, rate in itertools.product(stress.arms, stress.depths, stress.learning_rates):
        changes = {
            DEPTH: depth,
            "training.optimizer.learning_rate": rate,
            "training.epochs": stress.epochs,
            "training.schedule.name": "constant",
        }
        own = {
            key: reduce(lambda block, step: block[step], key.split("."), blocks[arm])
            for key in changes
        }
        changed = tuple((key, value) for key, value in changes.items() if value != own[key])
        yield Variant(arm, changed), (arm, depth, rate)
