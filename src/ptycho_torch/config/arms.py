"""Settings in force: of each arm, of the variants that sweeps and depth derive, of each run.

A variant whose settings are those of a named arm is that arm, and of two equal variants there is
one: the same training is never run twice for two stages.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from ptycho_torch.config.base import Settings, mistakes
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings, GroupSettings
from ptycho_torch.config.study import ArmSettings, Study, SuccessSettings
from ptycho_torch.config.training import ExecutionSettings, RunSettings, TrainingSettings
from ptycho_torch.config.variants import BLOCKS, Variant, grid, merge, numbers_of
from ptycho_torch.runtime.errors import InputError

DEPTH = "generator.fno_blocks"
"""What Stage B, the pivot and the crash hunt change."""


class _Blocks(Settings):
    generator: GeneratorSettings
    training: TrainingSettings
    execution: ExecutionSettings


@dataclass(frozen=True, slots=True)
class Derived:
    """Everything that a study can run, worked out once."""

    variants: dict[str, Variant]
    """Name -> variant; those that equal a named arm or another variant are left out."""

    blocks: dict[str, dict[str, Any]]
    """Name of each arm and variant -> its blocks in force."""

    names: dict[str, str]
    """Settings, as text -> name of the first arm, or else the variant, that has them."""


@lru_cache(maxsize=8)
def derive(study: Study) -> Derived:
    """Return the arms, and every variant of one that some stage may run, with their settings.

    Raises
    ------
    InputError
        If an arm's or a variant's settings are impossible, a key of a sweep is unknown, or two
        variants of different settings have one name; says the place.
    """
    base = {block: getattr(study, block).model_dump() for block in BLOCKS}
    blocks = {}
    for name, arm in study.arms.items():
        over = {block: getattr(arm, block) for block in BLOCKS}
        blocks[name] = _laid_over(base, over, f"arms.{name}.")
    names = {_text(blocks[arm]): arm for arm in reversed(study.arms)}
    variants: dict[str, Variant] = {}
    for where, variant in _wanted(study, blocks):
        settings = _varied(blocks, variant)
        if names.setdefault(_text(settings), variant.name) != variant.name:
            continue
        if blocks.setdefault(variant.name, settings) != settings:
            raise InputError(
                f"{where}: '{variant.name}' is already the name of a run with other settings; "
                "rename the arm or sweep under another one"
            )
        if variant.name not in study.arms:
            variants[variant.name] = variant
    return Derived(variants, blocks, names)


def _wanted(study: Study, blocks: Mapping[str, Any]) -> Iterator[tuple[str, Variant]]:
    """Yield every variant that a stage asks for, with the block that asks."""
    for name, sweep in study.sweeps.items():
        try:
            found = grid(sweep.arm, sweep.sweep, blocks[sweep.arm])
        except ValueError as error:
            raise InputError(f"sweeps.{name}.sweep: {error}") from None
        yield from ((f"sweeps.{name}", variant) for variant in found)
    if study.stage_b is not None:
        arms = list(study.stage_a.arms)
        arms += [study.pivot.arm, *study.pivot.cures] if study.pivot else []
        for arm in dict.fromkeys(arms):
            yield "stage_b", Variant(arm, ((DEPTH, study.stage_b.fno_blocks),))


def _varied(blocks: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    place = f"arms.{variant.base} with {variant.label()}: "
    return _laid_over(blocks[variant.base], variant.overrides(), place)


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return blocks with others laid over them, numbers read and defaults filled in."""
    data = {block: merge(base[block], over.get(block, {}), (block,)) for block in BLOCKS}
    try:
        return _Blocks.model_validate(data).model_dump()
    except ValidationError as error:
        raise InputError(f"{place}{mistakes(error, data)[0]}") from None


def _text(blocks: Mapping[str, Any]) -> str:
    return json.dumps(blocks, sort_keys=True)


def resolve(study: Study, variant: Variant) -> str:
    """Return the name under which a variant's runs are kept: an equal arm's, or its own."""
    found = derive(study)
    mine = _varied(found.blocks, variant)
    # Of equal arms the one that is varied, as a reader expects.
    return variant.base if found.blocks[variant.base] == mine else found.names[_text(mine)]


def deep(study: Study, arm: str) -> str:
    """Return the name of an arm at Stage B's depth."""
    if study.stage_b is None:
        raise ValueError("there is no stage 'stage_b', which says the depth")
    return resolve(study, Variant(arm, ((DEPTH, study.stage_b.fno_blocks),)))


def varied_arms(study: Study, name: str) -> list[tuple[Variant, str]]:
    """Return each variant of a sweep with the name under which its runs are kept.

    By rising value where one key takes numbers, else in the order in which they are written.
    """
    sweep = study.sweeps[name]
    variants = grid(sweep.arm, sweep.sweep, derive(study).blocks[sweep.arm])
    if numbers := numbers_of(variants):
        variants = [variant for _, variant in sorted(zip(numbers, variants, strict=True))]
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

    Raises
    ------
    ValueError
        If a network cannot be built for the dataset's patches.
    """
    return RunSettings(
        dataset=dataset,
        patch_px=study.datasets[dataset].patch_px,
        arm=arm,
        seed=seed,
        **derive(study).blocks[arm],
    )


def fit_settings(study: Study, measurement: str, label: str, seed: int) -> FitSettings:
    """Return everything that decides one training; only the base, this arm's blocks and those of
    `real_data` enter.

    Raises
    ------
    InputError
        If the settings are impossible.
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
