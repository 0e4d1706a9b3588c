"""Settings in force: of each arm, of the variants that sweeps and depth derive, of each run.

A variant whose settings are those of a named arm is that arm, and of two equal variants there is
one: the same training is never run twice for two stages.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import product
from typing import Any, NamedTuple

from pydantic import ValidationError

from ptycho_torch.config.base import Settings, merge, mistakes, value_text
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings, GroupSettings
from ptycho_torch.config.study import ArmSettings, Study
from ptycho_torch.config.training import ExecutionSettings, RunSettings, TrainingSettings
from ptycho_torch.runtime.errors import InputError, nearest

BLOCKS = ("generator", "training", "execution")
"""Blocks of a study that decide a run; their keys can be swept."""

DEPTH = "generator.fno_blocks"
"""Key that Stage B, the pivot, the crash hunt and the stress stage change."""


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
    grid = product(*sweep.values())
    return [Variant(base, tuple(zip(keys, values, strict=True))) for values in grid]


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


class _Blocks(Settings):
    generator: GeneratorSettings
    training: TrainingSettings
    execution: ExecutionSettings


class GridPoint(NamedTuple):
    """An arm of the stress stage at one depth and learning rate; `name`: that of its runs."""

    name: str
    arm: str
    depth: int
    rate: float


class Derived(NamedTuple):
    """Everything that a study can run. A variant's runs are kept under the name of an arm, or of
    another variant, that has the same settings, or else under its own."""

    variants: dict[str, Variant]
    """By name, without those that equal an arm or another variant."""
    blocks: dict[str, dict[str, Any]]
    """Of each arm and variant, by its name: the blocks in force."""
    sweeps: dict[str, list[tuple[Variant, str]]]
    """Of each sweep: its variants, arm by arm, and the name of their runs."""
    grid: tuple[GridPoint, ...]
    """The stress stage: arm by arm, by depth, by rising rate."""
    deep: dict[str, str]
    """Arm -> name of its runs at Stage B's depth."""

    @property
    def bases(self) -> dict[str, str]:
        """Name of each variant -> the arm that it is one of."""
        return {name: variant.base for name, variant in self.variants.items()}


@lru_cache(maxsize=8)
def derive(study: Study) -> Derived:
    """Return the arms, and every variant of one that some stage may run, with their settings.

    Raises InputError, which says the place, if settings are impossible, a key of a sweep is
    unknown, or two variants of different settings have one name.
    """
    base = {block: getattr(study, block).model_dump() for block in BLOCKS}
    base["generator"].pop("source")  # Of another network than an arm's own.
    blocks = {
        name: _laid_over(base, arm.model_dump(include=set(BLOCKS)), f"arms.{name}.")
        for name, arm in study.arms.items()
    }
    variants: dict[str, Variant] = {}

    def name_of(variant: Variant, where: str) -> str:
        place = f"arms.{variant.base} with {variant.label()}: "
        settings = _laid_over(blocks[variant.base], variant.overrides(), place)
        # Of equal arms the one that is varied, as a reader expects.
        equal = (name for name in (variant.base, *blocks) if blocks[name] == settings)
        name = next(equal, variant.name)
        if blocks.setdefault(name, settings) != settings:
            raise InputError(
                f"{where}: '{name}' is already the name of a run with other settings; "
                "rename the arm or sweep under another one"
            )
        if name == variant.name and name not in study.arms:
            variants[name] = variant
        return name

    sweeps = {
        name: [(each, name_of(each, f"sweeps.{name}")) for each in _swept(study, name, blocks)]
        for name in study.sweeps
    }
    grid = [
        GridPoint(name_of(variant, "stress"), *point) for variant, point in _stressed(study, blocks)
    ]
    deeper: dict[str, str] = {}
    if study.stage_b is not None:
        change = ((DEPTH, study.stage_b.fno_blocks),)
        arms = [*study.stage_a.arms, *([study.pivot.arm] if study.pivot else [])]
        deeper = {arm: name_of(Variant(arm, change), "stage_b") for arm in dict.fromkeys(arms)}
    return Derived(variants, blocks, sweeps, tuple(grid), deeper)


def _swept(study: Study, name: str, blocks: Mapping[str, Any]) -> list[Variant]:
    sweep = study.sweeps[name]
    try:
        found = [sweep_variants(arm, sweep.sweep, blocks[arm]) for arm in sweep.arm_list]
    except ValueError as error:
        raise InputError(f"sweeps.{name}.sweep: {error}") from None
    return [variant for variants in found for variant in variants]


def _stressed(
    study: Study, blocks: Mapping[str, Any]
) -> Iterator[tuple[Variant, tuple[str, int, float]]]:
    """Yield what the stress stage changes of each arm that is not so anyway; arm, depth, rate."""
    if (stress := study.stress) is None:
        return
    for arm, depth, rate in product(stress.arms, stress.depths, stress.learning_rates):
        generator, training = blocks[arm]["generator"], blocks[arm]["training"]
        changes = [
            (DEPTH, depth, generator["fno_blocks"]),
            ("training.optimizer.learning_rate", rate, training["optimizer"]["learning_rate"]),
            ("training.epochs", stress.epochs, training["epochs"]),
            ("training.schedule.name", "constant", training["schedule"]["name"]),
        ]
        changed = tuple((key, value) for key, value, own in changes if value != own)
        yield Variant(arm, changed), (arm, depth, rate)


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return blocks with others laid over them, numbers read and defaults filled in."""
    data = merge(base, over)
    with placed(place, data):
        return _Blocks.model_validate(data).model_dump()


@contextlib.contextmanager
def placed(place: str, data: Any = None) -> Iterator[None]:
    """Give a mistake in settings, which came as `data`, its place in the study."""
    try:
        yield
    except ValidationError as error:
        raise InputError(f"{place}{mistakes(error, data)[0]}") from None


def deep(study: Study, arm: str) -> str:
    """Return the name of an arm at Stage B's depth."""
    return derive(study).deep[arm]


def arm_settings(study: Study, name: str) -> ArmSettings:
    """Return an arm, or what a variant of one is: without conditions of its own."""
    variant = derive(study).variants.get(name)
    if variant is None:
        return study.arms[name]
    return ArmSettings(hypothesis=f"{variant.base} with {variant.label()}")


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
