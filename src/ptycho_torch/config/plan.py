"""Stages with every name resolved: which runs, on which data, and what is compared with what.

A variant whose settings are those of a named arm is that arm, and of two equal variants there is
one: the same training is never run twice for two stages.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptycho_torch.config.stages import StagePlan, against, seed_list
from ptycho_torch.config.variants import Variant, grid

if TYPE_CHECKING:
    from ptycho_torch.config.study import Study

DEPTH = "generator.fno_blocks"
"""What Stage B, the pivot and the crash hunt change."""


def stage_names(study: "Study") -> list[str]:
    """Return the stages that a study has, in the order in which they are read."""
    names = ["stage_a", *study.sweeps]
    return names + [name for name in ("stage_b", "pivot") if getattr(study, name) is not None]


def likely_winner(study: "Study") -> str:
    """Return an arm to count with while Stage A is not decided.

    One that no other stage takes to depth, if there is one: it costs most.
    """
    stage = study.stage_a
    shared = {stage.control, *(study.pivot.cures if study.pivot else ())}
    return next((arm for arm in stage.arms if arm not in shared), stage.arms[-1])


def stage_plan(study: "Study", name: str, winner: str | None = None) -> StagePlan:
    """Return a stage with its names resolved.

    Parameters
    ----------
    study
        The study.
    name
        `stage_a`, `stage_b`, `pivot`, or the name of a sweep.
    winner
        Winner of Stage A, which Stage B needs.

    Raises
    ------
    ValueError
        If there is no such stage, or Stage B's winner is missing or no arm of Stage A.
    """
    if name == "stage_a":
        return _stage_a(study)
    if name in study.sweeps:
        return _sweep(study, name)
    if name == "stage_b" and study.stage_b is not None:
        return _stage_b(study, winner)
    if name == "pivot" and study.pivot is not None:
        return _pivot(study)
    raise ValueError(f"there is no stage '{name}'; it has: {', '.join(stage_names(study))}")


def _stage_a(study: "Study") -> StagePlan:
    stage = study.stage_a
    return StagePlan(
        name="stage_a",
        title="Stage A, the shootout",
        question=(
            "Which network and which clipping policy reconstructs reliably, and how sure are we?"
        ),
        dataset=stage.dataset,
        control=stage.control,
        arms=tuple(stage.arms),
        seed_list=tuple(stage.seed_list),
        pairs=against(stage.control, stage.arms),
    )


def _sweep(study: "Study", name: str) -> StagePlan:
    sweep, stage = study.sweeps[name], study.stage_a
    control = sweep.control or stage.control
    arms = list(dict.fromkeys([control, *(arm for _, arm in varied_arms(study, name))]))
    keys = " and ".join(key.rsplit(".", 1)[-1] for key in sweep.sweep)
    return StagePlan(
        name=name,
        title=name.replace("_", " ").capitalize(),
        question=sweep.question or f"How do the results of `{sweep.arm}` depend on {keys}?",
        dataset=sweep.dataset or stage.dataset,
        control=control,
        arms=tuple(arms),
        seed_list=tuple(seed_list(sweep.seeds or stage.seeds)),
        pairs=against(control, arms),
    )


def sweep_variants(study: "Study", name: str) -> list[Variant]:
    """Return the variants of a sweep, in the order of its values."""
    sweep = study.sweeps[name]
    return grid(sweep.arm, sweep.sweep, study.blocks_of(sweep.arm))


def varied_arms(study: "Study", name: str) -> list[tuple[Variant, str]]:
    """Return each variant of a sweep with the name under which its runs are kept.

    By rising value where one key takes numbers, else in the order in which they are written.
    """
    variants = sweep_variants(study, name)
    if numbers := numbers_of(variants):
        by_value = sorted(range(len(variants)), key=numbers.__getitem__)
        variants = [variants[place] for place in by_value]
    return [(variant, resolve(study, variant)) for variant in variants]


def numbers_of(variants: list[Variant]) -> list[float]:
    """Return the values of variants of one key; empty if they are no numbers, or of several keys.

    Words, and grids of several keys, have no order in which a trend could be asked for.
    """
    if len(variants[0].changes) > 1:
        return []
    values = [variant.changes[0][1] for variant in variants]
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        return []
    return [float(value) for value in values]


def deep(study: "Study", arm: str) -> str:
    """Return the name of an arm at Stage B's depth."""
    if study.stage_b is None:
        raise ValueError("there is no stage 'stage_b', which says the depth")
    return resolve(study, Variant(arm, ((DEPTH, study.stage_b.fno_blocks),)))


def _stage_b(study: "Study", winner: str | None) -> StagePlan:
    stage, depth = study.stage_a, study.stage_b
    assert depth is not None
    if winner not in stage.arms:
        raise ValueError(f"stage_b: the winner '{winner}' is no arm of Stage A: {stage.arms}")
    control = stage.control
    shallow = list(dict.fromkeys([control, winner]))
    arms = [*shallow, *(deep(study, arm) for arm in shallow)]
    pairs = [(deep(study, winner), winner)]
    if winner != control:
        pairs = [
            (deep(study, winner), deep(study, control)),
            *pairs,
            (deep(study, control), control),
        ]
    return StagePlan(
        name="stage_b",
        title="Stage B, the deep test",
        question=f"Does Stage A's winner, `{winner}`, scale to {depth.fno_blocks} Fourier blocks?",
        dataset=stage.dataset,
        control=deep(study, control),
        arms=tuple(dict.fromkeys(arms)),
        seed_list=tuple(seed_list(depth.seeds or stage.seeds)),
        pairs=tuple(pairs),
        depth=tuple((deep(study, arm), arm) for arm in reversed(shallow)),
    )


def _pivot(study: "Study") -> StagePlan:
    stage, depth, pivot = study.stage_a, study.stage_b, study.pivot
    assert depth is not None and pivot is not None
    shallow = list(dict.fromkeys([stage.control, *pivot.cures]))
    arms = [deep(study, arm) for arm in (*shallow, pivot.arm)]
    return StagePlan(
        name="pivot",
        title="Pivot",
        question=(
            f"Do the cures survive {depth.fno_blocks} Fourier blocks, and does "
            f"`{pivot.arm}` do better?"
        ),
        dataset=stage.dataset,
        control=arms[0],
        arms=(*shallow, *arms),
        seed_list=tuple(seed_list(depth.seeds or stage.seeds)),
        pairs=against(arms[0], arms),
        # The further arm has no shallow runs of its own: it is to match the shallow control.
        depth=tuple(zip(arms, [*shallow, stage.control], strict=True))[1:],
    )


@dataclass(frozen=True, slots=True)
class Derived:
    """Variants of a study's arms, and the name under which each set of settings is run."""

    variants: dict[str, Variant]
    """Name -> variant; those that equal a named arm or another variant are left out."""

    names: dict[str, str]
    """Settings, as text -> name of the arm or variant that has them."""

    blocks: dict[str, dict[str, Any]]
    """Name of each variant -> its blocks in force."""


def find_variants(study: "Study") -> Derived:
    """Return every variant that some stage may run and that is not a named arm.

    Raises
    ------
    ValueError
        If a key of a sweep is unknown, or two variants of different settings have one name.
    """
    wanted: list[tuple[str, Variant]] = []
    for name in study.sweeps:
        try:
            wanted += [(f"sweeps.{name}", variant) for variant in sweep_variants(study, name)]
        except ValueError as error:
            raise ValueError(f"sweeps.{name}.sweep: {error}") from None
    if study.stage_b is not None:
        arms = list(study.stage_a.arms)
        arms += [study.pivot.arm, *study.pivot.cures] if study.pivot else []
        change = ((DEPTH, study.stage_b.fno_blocks),)
        wanted += [("stage_b", Variant(arm, change)) for arm in dict.fromkeys(arms)]
    known = {settings_key(study, arm): arm for arm in reversed(study.arms)}
    found: dict[str, Variant] = {}
    for where, variant in wanted:
        key = settings_key(study, variant.base, variant)
        if known.setdefault(key, variant.name) != variant.name:
            continue
        if variant.name in study.arms and settings_key(study, variant.name) == key:
            continue  # An arm that is written out under the very name.
        if variant.name in study.arms or found.setdefault(variant.name, variant) != variant:
            raise ValueError(
                f"{where}: '{variant.name}' is already the name of a run with other settings; "
                "rename the arm or sweep under another one"
            )
    blocks = {name: study.blocks_of(variant.base, variant) for name, variant in found.items()}
    return Derived(found, known, blocks)


def resolve(study: "Study", variant: Variant) -> str:
    """Return the name under which a variant's runs are kept: an equal arm's, or its own."""
    mine = settings_key(study, variant.base, variant)
    # Of equal arms the one that is varied, as a reader expects.
    return variant.base if settings_key(study, variant.base) == mine else study.derived.names[mine]


def settings_key(study: "Study", arm: str, variant: Variant | None = None) -> str:
    """Return what tells one arm's settings from another's; 5 and 5.0 are the same."""
    blocks = study.blocks_of(arm, variant)
    return json.dumps(_floats(blocks), sort_keys=True)


def _floats(value: object) -> object:
    if isinstance(value, dict):
        return {key: _floats(inner) for key, inner in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return value
