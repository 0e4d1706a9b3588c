"""Stages with every name resolved: which runs, on which data, what is compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from ptycho_torch.config.base import Settings
from ptycho_torch.config.evaluation import SuccessSettings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.stages import Looks
from ptycho_torch.config.study import GridPoint, Study, derive, run_settings

COMPARED = ("hybrid", "stable_hybrid", "layerscale_hybrid")
"""Generators whose activations are compared with depth."""

Pairs = tuple[tuple[str, str], ...]


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
    """Seeds of every arm; with looks, of what is undecided to the last."""
    pairs: Pairs
    """(arm, other) of every comparison that is shown."""
    primary: Pairs = ()
    """(arm, other) of what may end in a claim and shares `level`; all else is exploratory."""
    level: float | None = None
    """The stage's share of a study's chance of a false claim; None: it claims nothing."""
    grid: tuple[GridPoint, ...] = ()
    """What the stress stage tries."""
    planned: tuple[int, ...] = ()
    """Seeds at each planned look, which share the level; empty: there is one, at the end."""
    looks: tuple[int, ...] = ()
    """Seeds at each look that is taken, if it is not one, at the end."""
    depth: Pairs = ()
    """(deep arm, shallow one that it is to match), where depth is judged."""

    def runs_of(self, counts: Mapping[str, int]) -> list[tuple[str, int]]:
        """Return (arm, seed) of every run, given how many seeds of each arm were found: with looks
        an arm has those of one look, else all."""
        full = len(self.seed_list)
        return self._runs({
            arm: min((n for n in self.looks if n >= counts.get(arm, 0)), default=full)
            for arm in self.arms
        })  # fmt: skip

    def runs_after(self, undecided: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
        """Return (arm, seed) of every run, given the arms left undecided by each look so far."""
        bases = {point.name: point.arm for point in self.grid}
        sizes = self.looks or (len(self.seed_list),)
        counts = dict.fromkeys(self.arms, sizes[0])
        for size, left in zip(sizes[1:], undecided, strict=False):
            going_on = {*left, bases.get(self.control, self.control)} if left else set()
            counts |= {arm: size for arm in self.arms if bases.get(arm, arm) in going_on}
        return self._runs(counts)

    def _runs(self, counts: Mapping[str, int]) -> list[tuple[str, int]]:
        return [(arm, seed) for arm in self.arms for seed in self.seed_list[: counts[arm]]]


def stage_names(study: Study) -> list[str]:
    """Return the stages that a study has, in the order in which they are read."""
    names = ["stress", *study.sweeps, "stage_b", "pivot"]
    return ["stage_a", *(n for n in names if n in study.sweeps or getattr(study, n) is not None)]


# How the questions of a study divide the chance of a false claim: quality at Stage A's settings,
# stability under stress, and survival at depth, which only the Pivot claims.
_SHARES = {"stage_a": 2, "stress": 2, "pivot": 1}


def level_of(study: Study, stage: str) -> float | None:
    """Return a stage's share of 1 - `statistics.confidence`; None: it claims nothing."""
    has = {"stage_a": True, "stress": study.stress is not None, "pivot": study.decision is not None}
    if not has.get(stage):
        return None
    total = sum(share for name, share in _SHARES.items() if has[name])
    return round((1 - study.statistics.confidence) * _SHARES[stage] / total, 12)


def likely_winner(study: Study) -> str:
    """Return an arm to count with while Stage A is not decided: one that costs most, since no
    other stage takes it to depth, if there is one."""
    stage = study.stage_a
    shared = {stage.control, *(study.pivot.cures if study.pivot else ())}
    return next((arm for arm in stage.arms if arm not in shared), stage.arms[-1])


def stage_plan(study: Study, name: str, winner: str | None = None) -> StagePlan:
    """Return a stage (`stage_a`, `stress`, `stage_b`, `pivot` or a sweep) with its names resolved.

    Stage B needs the winner of Stage A. Raises ValueError if there is no such stage, or the winner
    is missing or no arm of Stage A.
    """
    if name not in stage_names(study):
        raise ValueError(f"there is no stage '{name}'; it has: {', '.join(stage_names(study))}")
    if name in study.sweeps:
        return _sweep(study, name)
    if name == "stage_b":
        return _stage_b(study, winner)
    return {"stage_a": _stage_a, "stress": _stress, "pivot": _pivot}[name](study)


def _plan(
    study: Study, arms: Iterable[str], control: str, *, seeds: Any = None, **fields: Any
) -> StagePlan:
    """Return a plan; its data, seeds and pairs (each arm with the control) unless given."""
    arms = tuple(dict.fromkeys(arms))
    fields.setdefault("dataset", study.stage_a.dataset)
    fields.setdefault("pairs", tuple((arm, control) for arm in arms if arm != control))
    planned = tuple(seeds.looks) if isinstance(seeds, Looks) else ()
    looks = planned[: seeds.taken] if planned else ()
    return StagePlan(
        arms=arms,
        control=control,
        seed_list=tuple(range(looks[-1]) if looks else seeds or study.stage_a.seed_list),
        planned=planned,
        looks=looks if len(looks) > 1 else (),
        level=level_of(study, fields["name"]),
        **fields,
    )


def _claims(study: Study, arms: Iterable[str]) -> Pairs:
    """Pair with the control those arms whose hypotheses set conditions, or else all."""
    control = study.stage_a.control
    others = [arm for arm in arms if arm != control]
    asked = [arm for arm in others if study.arms[arm].success != SuccessSettings()]
    return tuple((arm, control) for arm in asked or others)


def _stage_a(study: Study) -> StagePlan:
    stage = study.stage_a
    return _plan(
        study,
        stage.arms,
        stage.control,
        name="stage_a",
        title="Stage A, the shootout",
        question="Which network and which clipping policy reconstructs reliably, and how sure are "
        "we?",
        seeds=stage.seeds,
        primary=_claims(study, stage.arms),
    )


def _stress(study: Study) -> StagePlan:
    assert study.stress is not None
    grid = derive(study).grid
    return _plan(
        study,
        [point.name for point in grid],
        next(point.name for point in grid if point.arm == study.stage_a.control),
        name="stress",
        title="Stress stage",
        question="Which arm bears the highest learning rates, and which learns best over all?",
        seeds=study.stress.seeds,
        pairs=(),
        primary=_claims(study, study.stress.arms),
        grid=grid,
    )


def _sweep(study: Study, name: str) -> StagePlan:
    sweep = study.sweeps[name]
    control = sweep.control or study.stage_a.control
    varied = " and ".join(f"`{arm}`" for arm in sweep.arm_list)
    keys = " and ".join(key.rsplit(".", 1)[-1] for key in sweep.sweep)
    return _plan(
        study,
        [control, *(arm for _, arm in derive(study).sweeps[name])],
        control,
        name=name,
        title=name.replace("_", " ").capitalize(),
        question=sweep.question or f"How do the results of {varied} depend on {keys}?",
        dataset=sweep.dataset or study.stage_a.dataset,
        seeds=sweep.seeds,
    )


def _stage_b(study: Study, winner: str | None) -> StagePlan:
    stage, settings = study.stage_a, study.stage_b
    assert settings is not None
    if winner not in stage.arms:
        raise ValueError(f"stage_b: the winner '{winner}' is no arm of Stage A: {stage.arms}")
    deep = derive(study).deep
    depth = [(deep[arm], arm) for arm in dict.fromkeys([winner, stage.control])]
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


def _pivot(study: Study) -> StagePlan:
    control, settings, pivot = study.stage_a.control, study.stage_b, study.pivot
    assert settings is not None and pivot is not None
    shallow = [control, *pivot.cures]
    arms = [derive(study).deep[arm] for arm in (*shallow, pivot.arm)]
    return _plan(
        study,
        [*shallow, *arms],
        arms[0],
        name="pivot",
        title="Pivot",
        question=f"Do the cures survive {settings.fno_blocks} Fourier blocks, and does "
        f"`{pivot.arm}` do better?",
        seeds=settings.seeds,
        pairs=tuple((arm, arms[0]) for arm in arms[1:]),
        primary=tuple((arms[-1], cure) for cure in arms[1:-1]),
        # The further arm has no shallow runs of its own: it is to match the shallow control.
        depth=tuple(zip(arms, [*shallow, control], strict=True))[1:],
    )


def seed_blocks(study: Study) -> list[tuple[str, tuple[int, ...], list[str]]]:
    """Return (dataset, seeds, arms) of jobs of several seeds: `seeds_per_job` at most, of one look
    each; a run is in one of them at most."""
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    known: dict[tuple[str, str], set[int]] = {}
    for stage in stage_names(study):
        for won in study.stage_a.arms if stage == "stage_b" else [None]:
            plan = stage_plan(study, stage, won)
            for low, high in pairwise([0, *(plan.looks or [len(plan.seed_list)])]):
                for arm in plan.arms:
                    seen = known.setdefault((plan.dataset, arm), set())
                    fresh = [seed for seed in plan.seed_list[low:high] if seed not in seen]
                    seen.update(fresh)
                    for place in range(0, len(fresh), study.seeds_per_job):
                        block = tuple(fresh[place : place + study.seeds_per_job])
                        found.setdefault((plan.dataset, block), []).append(arm)
    return [(*key, arms) for key, arms in found.items() if len(key[1]) > 1]


class UntrainedNetwork(Settings):
    """A network before its first step, and the loss that it would be trained with."""

    generator: GeneratorSettings
    loss: Literal["mae", "poisson"]
    input_scaling: Literal["none", "statistical"]
    object_big: bool = True


def untrained_networks(study: Study) -> dict[str, UntrainedNetwork]:
    """Return the untrained networks to diagnose, by name, each set of settings once.

    First `hybrid-4` and the like, every compared generator at every depth of the block
    `diagnostics`, all else as in the block `generator`; then other arms of Stage A, by name.
    """
    wanted = {
        f"{name}-{depth}": (
            study.generator.model_copy(update={"name": name, "fno_blocks": depth}),
            study.training,
        )
        for depth in study.diagnostics.depths
        for name in COMPARED
    }
    for arm in study.stage_a.arms:
        run = run_settings(study, study.stage_a.dataset, arm, seed=0)
        wanted[arm] = run.generator, run.training
    found: dict[str, UntrainedNetwork] = {}
    for name, (generator, training) in wanted.items():
        own = training.model_dump(include={"loss", "input_scaling", "object_big"})
        network = UntrainedNetwork(generator=generator, **own)
        if network not in found.values():
            found[name] = network
    return found
