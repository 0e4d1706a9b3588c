"""Settings in force: of each arm, of the variants that sweeps and depth derive, of each run.

A variant whose settings are those of a named arm is that arm, and of two equal variants there is
one: the same training is never run twice for two stages.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, NamedTuple

from pydantic import ValidationError

from ptycho_torch.config.base import Settings, mistakes, value_text
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings, GroupSettings
from ptycho_torch.config.study import ArmSettings, Study, SuccessSettings
from ptycho_torch.config.training import ExecutionSettings, RunSettings, TrainingSettings
from ptycho_torch.runtime.errors import InputError, nearest

BLOCKS = ("generator", "training", "execution")
"""Blocks of a study that decide a run; their keys can be swept."""

# What Stage B, the pivot and the crash hunt change.
_DEPTH = "generator.fno_blocks"
# Blocks with a kind: an arm that names another kind replaces the whole block, since the keys of one
# kind mean nothing to another.
_KINDS = {"clip": "gradient_clip_algorithm", "optimizer": "name", "schedule": "name"}
# Names become folders; the longest that common file systems take is 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,119}")


class _Blocks(Settings):
    generator: GeneratorSettings
    training: TrainingSettings
    execution: ExecutionSettings


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
        return [(key.rsplit(".", 1)[-1], value_text(value)) for key, value in self.changes]

    def overrides(self) -> dict[str, Any]:
        """Return the changes as nested blocks."""
        nested: dict[str, Any] = {}
        for key, value in self.changes:
            *path, leaf = key.split(".")
            reduce(lambda block, step: block.setdefault(step, {}), path, nested)[leaf] = value
        return nested


class Derived(NamedTuple):
    """Everything that a study can run.

    variants: by name, without those that equal an arm or another variant; blocks: name of each arm
    and variant -> its blocks in force.
    """

    variants: dict[str, Variant]
    blocks: dict[str, dict[str, Any]]


@lru_cache(maxsize=8)
def derive(study: Study) -> Derived:
    """Return the arms, and every variant of one that some stage may run, with their settings.

    Raises InputError, which says the place, if settings are impossible, a key of a sweep is
    unknown, or two variants of different settings have one name.
    """
    base = {block: getattr(study, block).model_dump() for block in BLOCKS}
    blocks = {
        name: _laid_over(base, arm.model_dump(include=set(BLOCKS)), f"arms.{name}.")
        for name, arm in study.arms.items()
    }
    variants: dict[str, Variant] = {}
    for where, variant in _requested(study, blocks):
        settings = _varied(blocks, variant)
        if settings in blocks.values():
            continue
        if variant.name in blocks:
            raise InputError(
                f"{where}: '{variant.name}' is already the name of a run with other settings; "
                "rename the arm or sweep under another one"
            )
        blocks[variant.name], variants[variant.name] = settings, variant
    return Derived(variants, blocks)


def _requested(study: Study, blocks: Mapping[str, Any]) -> Iterator[tuple[str, Variant]]:
    """Yield every variant that a stage asks for, with the block that asks."""
    for name, sweep in study.sweeps.items():
        try:
            found = _grid(sweep.arm, sweep.sweep, blocks[sweep.arm])
        except ValueError as error:
            raise InputError(f"sweeps.{name}.sweep: {error}") from None
        yield from ((f"sweeps.{name}", variant) for variant in found)
    if study.stage_b is not None:
        arms = [*study.stage_a.arms, *([study.pivot.arm] if study.pivot else [])]
        for arm in dict.fromkeys(arms):
            yield "stage_b", Variant(arm, ((_DEPTH, study.stage_b.fno_blocks),))


def _varied(blocks: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    place = f"arms.{variant.base} with {variant.label()}: "
    return _laid_over(blocks[variant.base], variant.overrides(), place)


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return blocks with others laid over them, numbers read and defaults filled in."""
    data = merge(base, over)
    try:
        return _Blocks.model_validate(data).model_dump()
    except ValidationError as error:
        raise InputError(f"{place}{mistakes(error, data)[0]}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return the block `name` with another laid over it, key by key or, by its kind, whole."""
    if _KINDS.get(name) in over:
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = merge(base[key], value, key) if both else value
    return merged


def _grid(
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


def resolve(study: Study, variant: Variant) -> str:
    """Return the name under which a variant's runs are kept: an equal arm's, or its own."""
    blocks = derive(study).blocks
    mine = _varied(blocks, variant)
    # Of equal arms the one that is varied, as a reader expects.
    names = [variant.base, *blocks]
    return next(name for name in names if blocks[name] == mine)


def deep(study: Study, arm: str) -> str:
    """Return the name of an arm at Stage B's depth."""
    if study.stage_b is None:
        raise ValueError("there is no stage 'stage_b', which says the depth")
    return resolve(study, Variant(arm, ((_DEPTH, study.stage_b.fno_blocks),)))


def numbers_of(variants: list[Variant]) -> list[float]:
    """Return the values of variants of one key; empty if they are no numbers, or of several keys.

    Words, and grids of several keys, have no order in which a trend could be asked for.
    """
    values = [variant.changes[0][1] for variant in variants if len(variant.changes) == 1]
    if not values or any(type(value) not in (int, float) for value in values):
        return []
    return [float(value) for value in values]


def varied_arms(study: Study, name: str) -> list[tuple[Variant, str]]:
    """Return each variant of a sweep with the name under which its runs are kept.

    By rising value where one key takes numbers, else in the order in which they are written.
    """
    sweep = study.sweeps[name]
    variants = _grid(sweep.arm, sweep.sweep, derive(study).blocks[sweep.arm])
    if numbers_of(variants):
        variants.sort(key=lambda variant: float(variant.changes[0][1]))
    return [(variant, resolve(study, variant)) for variant in variants]


def arm_settings(study: Study, name: str) -> ArmSettings:
    """Return an arm, or what a variant of one is: without conditions of its own."""
    if name in study.arms:
        return study.arms[name]
    variant = derive(study).variants[name]
    hypothesis = f"{variant.base} with {variant.label()}"
    own = {"hypothesis": hypothesis, "success": SuccessSettings()}
    return study.arms[variant.base].model_copy(update=own)


def run_settings(study: Study, dataset: str, arm: str, seed: int) -> RunSettings:
    """Return the settings of one run; only the base and this arm's blocks enter.

    Raises ValueError if a network cannot be built for the dataset's patches.
    """
    patch_px, blocks = study.datasets[dataset].patch_px, derive(study).blocks[arm]
    return RunSettings(dataset=dataset, patch_px=patch_px, arm=arm, seed=seed, **blocks)


def fit_settings(study: Study, measurement: str, label: str, seed: int) -> FitSettings:
    """Return everything that decides one training on a measurement; only the base, this arm's
    blocks and those of `real_data` enter. Raises InputError if the settings are impossible.
    """
    real = study.real_data
    assert real is not None
    arm, gridsize = real.networks[label]
    over = {"generator": real.generator, "training": real.training}
    place = f"real_data: network '{label}' on '{measurement}': "
    return FitSettings(
        name=measurement,
        arm=arm,
        seed=seed,
        groups=GroupSettings(gridsize=gridsize),
        validation_fraction=real.validation_fraction,
        gap_px=real.held_out.gap_px,
        **_laid_over(derive(study).blocks[arm], over, place),
    )
