"""Stages with every name resolved: which runs, on which data, what is compared; and can all of it
be run?"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from ptycho_torch.config.arms import deep, derive, fit_settings, run_settings, varied_arms
from ptycho_torch.config.base import Settings, mistakes, seed_list
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.generator import GeneratorSettings, plan_levels
from ptycho_torch.config.study import DepthSettings, PivotSettings, Study

COMPARED = ("hybrid", "stable_hybrid", "layerscale_hybrid")
"""Generators whose activations are compared with depth."""

# SSIM's window; a smaller image has no score.
_LEAST_SIDE_PX = 7


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
    """Return a stage (`stage_a`, `stage_b`, `pivot` or a sweep) with its names resolved.

    Stage B needs the winner of Stage A. Raises ValueError if there is no such stage, or the winner
    is missing or no arm of Stage A.
    """
    if name == "stage_a":
        return _stage_a(study)
    if name in study.sweeps:
        return _sweep(study, name)
    if name == "stage_b" and study.stage_b is not None:
        return _stage_b(study, study.stage_b, winner)
    if name == "pivot" and study.pivot is not None:
        return _pivot(study, study.pivot)
    raise ValueError(f"there is no stage '{name}'; it has: {', '.join(stage_names(study))}")


def _plan(
    study: Study, arms: Iterable[str], control: str, *, seeds: Any = None, **fields: Any
) -> StagePlan:
    """Return a plan; its data, seeds and pairs (each arm with the control) unless given."""
    arms = tuple(dict.fromkeys(arms))
    fields.setdefault("dataset", study.stage_a.dataset)
    fields.setdefault("pairs", tuple((arm, control) for arm in arms if arm != control))
    seeds = tuple(seed_list(seeds or study.stage_a.seeds))
    return StagePlan(arms=arms, control=control, seed_list=seeds, **fields)


def _stage_a(study: Study) -> StagePlan:
    question = "Which network and which clipping policy reconstructs reliably, and how sure are we?"
    return _plan(
        study,
        study.stage_a.arms,
        study.stage_a.control,
        name="stage_a",
        title="Stage A, the shootout",
        question=question,
    )


def _sweep(study: Study, name: str) -> StagePlan:
    sweep = study.sweeps[name]
    control = sweep.control or study.stage_a.control
    keys = " and ".join(key.rsplit(".", 1)[-1] for key in sweep.sweep)
    return _plan(
        study,
        [control, *(arm for _, arm in varied_arms(study, name))],
        control,
        name=name,
        title=name.replace("_", " ").capitalize(),
        question=sweep.question or f"How do the results of `{sweep.arm}` depend on {keys}?",
        dataset=sweep.dataset or study.stage_a.dataset,
        seeds=sweep.seeds,
    )


def _stage_b(study: Study, settings: DepthSettings, winner: str | None) -> StagePlan:
    stage = study.stage_a
    if winner not in stage.arms:
        raise ValueError(f"stage_b: the winner '{winner}' is no arm of Stage A: {stage.arms}")
    depth = [(deep(study, arm), arm) for arm in dict.fromkeys([winner, stage.control])]
    # The deep arms with each other, then each with its shallow self.
    among = [(depth[0][0], depth[1][0])] if len(depth) > 1 else []
    return _plan(
        study,
        [stage.control, winner, *(arm for arm, _ in reversed(depth))],
        depth[-1][0],
        name="stage_b",
        title="Stage B, the deep test",
        question=f"Does Stage A's winner, `{winner}`, scale to {settings.fno_blocks} Fourier "
        "blocks?",
        seeds=settings.seeds,
        pairs=(*among, *depth),
        depth=tuple(depth),
    )


def _pivot(study: Study, pivot: PivotSettings) -> StagePlan:
    stage, settings = study.stage_a, study.stage_b
    assert settings is not None
    shallow = [stage.control, *pivot.cures]
    arms = [deep(study, arm) for arm in (*shallow, pivot.arm)]
    control = arms[0]
    return _plan(
        study,
        [*shallow, *arms],
        control,
        name="pivot",
        title="Pivot",
        question=f"Do the cures survive {settings.fno_blocks} Fourier blocks, and does "
        f"`{pivot.arm}` do better?",
        seeds=settings.seeds,
        pairs=tuple((arm, control) for arm in arms if arm != control),
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
    """
    base, training = study.generator.model_dump(), study.training
    wanted = [
        (f"{name}-{depth}", base | {"name": name, "fno_blocks": depth}, training)
        for depth in study.diagnostics.depths
        for name in COMPARED
    ]
    for arm in study.stage_a.arms:
        run = run_settings(study, study.stage_a.dataset, arm, seed=0)
        wanted.append((arm, run.generator.model_dump(), run.training))
    found: dict[str, UntrainedNetwork] = {}
    for name, generator, own in wanted:
        network = UntrainedNetwork(
            generator=GeneratorSettings.model_validate(generator),
            **own.model_dump(include={"loss", "input_scaling", "object_big"}),
        )
        if network not in found.values():
            found[name] = network
    return found


def check_study(study: Study) -> None:
    """Raise `ValueError`, naming block and key, if what a study plans cannot be run."""
    stage = study.stage_a
    runs = [(stage.dataset, arm) for arm in study.arms]
    if study.stage_b is not None:
        for arm in stage.arms:  # Any of them may win.
            runs.append((stage.dataset, deep(study, arm)))
            if deep(study, arm) == arm:
                raise ValueError(
                    f"stage_b.fno_blocks: {study.stage_b.fno_blocks} is the depth that '{arm}' has "
                    "already in Stage A; take another depth, or that arm out of stage_a.arms"
                )
    for name in stage_names(study):
        plan = stage_plan(study, name, winner=stage.control)
        runs += [(plan.dataset, arm) for arm in plan.arms]
    for dataset, arm in dict.fromkeys(runs):
        _check_run(study, dataset, arm)
    _check_twins(study)
    _check_measurements(study)
    for name, network in untrained_networks(study).items():
        try:
            plan_levels(network.generator, study.datasets[stage.dataset].patch_px)
        except ValueError as error:
            raise ValueError(
                f"diagnostics.depths: {name} cannot be built: {error}; take other depths"
            ) from None


def _check_twins(study: Study) -> None:
    """Refuse arms of Stage A that are one and the same run, and names that share a folder."""
    blocks = derive(study).blocks
    for twin, arm in itertools.combinations(study.stage_a.arms, 2):
        if blocks[arm] == blocks[twin]:
            raise ValueError(
                f"stage_a.arms: '{arm}' has the very settings of '{twin}'; the same training "
                "would run twice. Give it a setting that differs, or take it out"
            )
    for other, arm in itertools.combinations(study.arms, 2):
        if other.casefold() == arm.casefold():
            raise ValueError(
                f"arms: '{other}' and '{arm}' would share a folder where file names have no case"
            )


def _check_run(study: Study, dataset: str, arm: str) -> None:
    variant = derive(study).variants.get(arm)
    where = f"arms.{arm}." if variant is None else f"arms.{variant.base} with {variant.label()}: "
    try:
        run = run_settings(study, dataset, arm, seed=0)
    except ValidationError as error:
        raise ValueError(f"{where}{mistakes(error)[0]}") from None
    training, data = run.training, study.datasets[dataset]
    schedule = training.schedule
    if schedule.name == "warmup_cosine" and schedule.warmup_epochs >= training.epochs:
        raise ValueError(
            f"{where}training.schedule.warmup_epochs of {schedule.warmup_epochs:g} never "
            f"ends in {training.epochs} epochs"
        )
    if not isinstance(data, SimulatedDataset):
        return
    step = data.scan.test_step_px
    left = (data.room_px // step + 1) * step - 2 * study.evaluation.trim_px
    if left < _LEAST_SIDE_PX:
        raise ValueError(
            f"evaluation.trim_px of {study.evaluation.trim_px} leaves {left} px of the image "
            f"that the test scan of datasets.{dataset} stitches; {_LEAST_SIDE_PX} are needed"
        )
    groups = data.images_per_split * data.groups_per_image(data.scan.train_step_px)
    if training.batch_size > groups:
        raise ValueError(
            f"{where}training.batch_size of {training.batch_size} is more than "
            f"the {groups} groups of patches in datasets.{dataset}; only full batches train"
        )


def _check_measurements(study: Study) -> None:
    if (real := study.real_data) is None:
        return
    if len(real.networks) < len(real.gridsizes) * len(real.arms):
        raise ValueError(
            f"real_data: two networks would share a folder: {', '.join(real.networks)}"
        )
    for (name, measurement), label in itertools.product(real.measurements.items(), real.networks):
        try:
            fit_settings(study, name, label, 0).run(measurement.reading.patch_px or 0)
        except ValidationError as error:
            what = mistakes(error)[0]
            raise ValueError(f"real_data: network '{label}' on '{name}': {what}") from None
