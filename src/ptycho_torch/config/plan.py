"""Stages with every name resolved: which runs, on which data, and what is compared with what."""

from dataclasses import dataclass
from typing import Literal

from ptycho_torch.config.arms import deep, run_settings, varied_arms
from ptycho_torch.config.base import Settings, seed_list
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.study import Study
from ptycho_torch.config.training import TrainingSettings

COMPARED = ("hybrid", "stable_hybrid", "layerscale_hybrid")
"""Generators whose activations are compared with depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage with every name resolved: what is run, and what is compared with what."""

    name: str
    """Name of the stage's folder and target, such as `stage_a`."""
    title: str
    """As a heading."""
    question: str
    """What the stage is to answer."""
    dataset: str
    """Entry of `datasets`."""
    control: str
    """The arm that the others are seen against."""
    arms: tuple[str, ...]
    """Arms and variants, in the order of tables and figures."""
    seed_list: tuple[int, ...]
    """Seeds of every arm."""
    pairs: tuple[tuple[str, str], ...]
    """(arm, other) of every comparison: the family of Holm's correction."""
    depth: tuple[tuple[str, str], ...] = ()
    """(deep arm, shallow one that it is to match), where depth is judged."""


def against(control: str, arms: list[str]) -> tuple[tuple[str, str], ...]:
    """Return every arm beside the control, as pairs to compare."""
    return tuple((arm, control) for arm in arms if arm != control)


def stage_names(study: Study) -> list[str]:
    """Return the stages that a study has, in the order in which they are read."""
    names = ["stage_a", *study.sweeps]
    return names + [name for name in ("stage_b", "pivot") if getattr(study, name) is not None]


def likely_winner(study: Study) -> str:
    """Return an arm to count with while Stage A is not decided.

    One that no other stage takes to depth, if there is one: it costs most.
    """
    stage = study.stage_a
    shared = {stage.control, *(study.pivot.cures if study.pivot else ())}
    return next((arm for arm in stage.arms if arm not in shared), stage.arms[-1])


def stage_plan(study: Study, name: str, winner: str | None = None) -> StagePlan:
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


def _stage_a(study: Study) -> StagePlan:
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


def _sweep(study: Study, name: str) -> StagePlan:
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


def _stage_b(study: Study, winner: str | None) -> StagePlan:
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


def _pivot(study: Study) -> StagePlan:
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


class UntrainedNetwork(Settings):
    """A network before its first step, and the loss that it would be trained with."""

    generator: GeneratorSettings
    """The network."""
    loss: Literal["mae", "poisson"]
    """As in `training`."""
    input_scaling: Literal["none", "statistical"]
    """As in `training`."""
    object_big: bool = True
    """As in `training`."""


def untrained_networks(study: Study) -> dict[str, UntrainedNetwork]:
    """Return the untrained networks to diagnose, by name, each set of settings once.

    First `hybrid-4` and the like, every compared generator at every depth of the block
    `diagnostics`, all else as in the block `generator`; then arms of Stage A, by their names, that
    differ from all of those.

    Raises
    ------
    ValueError
        If a generator's settings are wrong; its size is checked where it is built.
    """
    found: dict[str, UntrainedNetwork] = {}

    def add(name: str, generator: GeneratorSettings, training: TrainingSettings) -> None:
        network = UntrainedNetwork(
            generator=generator,
            loss=training.loss,
            input_scaling=training.input_scaling,
            object_big=training.object_big,
        )
        if network not in found.values():
            found[name] = network

    for depth in study.diagnostics.depths:
        for name in COMPARED:
            changes = {"name": name, "fno_blocks": depth}
            settings = GeneratorSettings.model_validate(study.generator.model_dump() | changes)
            add(f"{name}-{depth}", settings, study.training)
    for arm in study.stage_a.arms:
        run = run_settings(study, study.stage_a.dataset, arm, seed=0)
        add(arm, run.generator, run.training)
    return found
