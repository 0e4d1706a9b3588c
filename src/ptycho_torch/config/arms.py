"""Settings in force: of each arm, of the variants that sweeps and depth derive, of each run.

A variant whose settings are those of a named arm is that arm, and of two equal variants there is
one: the same training is never run twice for two stages.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from pydantic import ValidationError

from ptycho_torch.config.base import Settings, merge, mistakes
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings, GroupSettings
from ptycho_torch.config.study import ArmSettings, Study
from ptycho_torch.config.training import ExecutionSettings, RunSettings, TrainingSettings
from ptycho_torch.config.variants import BLOCKS, DEPTH, Variant, numbers_of, sweep_variants
from ptycho_torch.runtime.errors import InputError


class _Blocks(Settings):
    generator: GeneratorSettings
    training: TrainingSettings
    execution: ExecutionSettings


class Derived(NamedTuple):
    """Everything that a study can run."""

    variants: dict[str, Variant]
    """By name, without those that equal an arm or another variant."""
    blocks: dict[str, dict[str, Any]]
    """Of each arm and variant, by its name: the blocks in force."""
    names: dict[Variant, str]
    """Under which a variant's runs are kept: an equal arm's, or its own."""


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
    found = Derived({}, blocks, {})
    for where, variant in _requested(study, blocks):
        place = f"arms.{variant.base} with {variant.label()}: "
        settings = _laid_over(blocks[variant.base], variant.overrides(), place)
        # Of equal arms the one that is varied, as a reader expects.
        equal = (name for name in (variant.base, *blocks) if blocks[name] == settings)
        name = found.names[variant] = next(equal, variant.name)
        if blocks.setdefault(name, settings) != settings:
            raise InputError(
                f"{where}: '{name}' is already the name of a run with other settings; "
                "rename the arm or sweep under another one"
            )
        if name == variant.name and name not in study.arms:
            found.variants[name] = variant
    return found


def _requested(study: Study, blocks: Mapping[str, Any]) -> Iterator[tuple[str, Variant]]:
    """Yield every variant that a stage asks for, with the block that asks."""
    for name, sweep in study.sweeps.items():
        try:
            for arm in sweep.arm_list:
                for variant in sweep_variants(arm, sweep.sweep, blocks[arm]):
                    yield f"sweeps.{name}", variant
        except ValueError as error:
            raise InputError(f"sweeps.{name}.sweep: {error}") from None
    yield from (("stress", variant) for variant, _ in _stress_variants(study, blocks))
    if study.stage_b is not None:
        arms = [*study.stage_a.arms, *([study.pivot.arm] if study.pivot else [])]
        for arm in dict.fromkeys(arms):
            yield "stage_b", Variant(arm, ((DEPTH, study.stage_b.fno_blocks),))


def _stress_variants(
    study: Study, blocks: Mapping[str, Any]
) -> Iterator[tuple[Variant, tuple[str, int, float]]]:
    """Yield what the stress stage changes of an arm, less what the arm has anyway, with its arm,
    depth and learning rate."""
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
    try:
        return _Blocks.model_validate(data).model_dump()
    except ValidationError as error:
        raise InputError(f"{place}{mistakes(error, data)[0]}") from None


def deep(study: Study, arm: str) -> str:
    """Return the name of an arm at Stage B's depth."""
    assert study.stage_b is not None
    return derive(study).names[Variant(arm, ((DEPTH, study.stage_b.fno_blocks),))]


def varied_arms(study: Study, name: str) -> list[tuple[Variant, str]]:
    """Return each variant of a sweep with the name under which its runs are kept.

    Arm by arm; by rising value where one key takes numbers, else in the order in which they are
    written.
    """
    sweep, found = study.sweeps[name], []
    for arm in sweep.arm_list:
        variants = sweep_variants(arm, sweep.sweep, derive(study).blocks[arm])
        if numbers_of(variants):
            variants.sort(key=lambda variant: float(variant.changes[0][1]))
        found += [(variant, derive(study).names[variant]) for variant in variants]
    return found


class GridPoint(NamedTuple):
    """An arm of the stress stage at one depth and learning rate; `name`: that of its runs."""

    name: str
    arm: str
    depth: int
    rate: float


def grid_points(study: Study) -> list[GridPoint]:
    """Return every point of the stress stage: arm by arm, by depth, by rising rate."""
    found = derive(study)
    return [
        GridPoint(found.names[variant], *point)
        for variant, point in _stress_variants(study, found.blocks)
    ]


def arm_settings(study: Study, name: str) -> ArmSettings:
    """Return an arm, or what a variant of one is: without conditions of its own."""
    if name in study.arms:
        return study.arms[name]
    variant = derive(study).variants[name]
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
