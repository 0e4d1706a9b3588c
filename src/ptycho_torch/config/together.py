"""Which runs are trained in one job, where an arm's seeds are trained together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptycho_torch.config.arms import derive
from ptycho_torch.config.plan import stage_names, stage_plan

if TYPE_CHECKING:
    from ptycho_torch.config.study import Study


@dataclass(frozen=True, slots=True)
class SeedJob:
    """Seeds of one arm that one job trains."""

    dataset: str
    arm: str
    seeds: tuple[int, ...]


def seed_jobs(study: "Study") -> list[SeedJob]:
    """Return a job for each set of seeds that the same stages want, of every arm that asks for it.

    A seed that a later stage alone wants is not trained for an earlier one. Stage B's arms are not
    known before Stage A's winner: all that could win are planned for, and only what a stage then
    asks for is run. A seed with no other beside it is left to a job of its own.
    """
    wanted: dict[tuple[str, str], dict[int, set[str]]] = {}
    for name in stage_names(study):
        winners = study.stage_a.arms if name == "stage_b" else (None,)
        for plan in (stage_plan(study, name, winner) for winner in winners):
            for arm in plan.arms:
                seeds = wanted.setdefault((plan.dataset, arm), {})
                for seed in plan.seed_list:
                    seeds.setdefault(seed, set()).add(name)
    return [
        SeedJob(dataset, arm, seeds)
        for (dataset, arm), stages in wanted.items()
        if derive(study).blocks[arm]["execution"]["seeds_together"]
        for seeds in _same_stages(stages)
        if len(seeds) > 1
    ]


def _same_stages(stages: Mapping[int, set[str]]) -> list[tuple[int, ...]]:
    found: dict[frozenset[str], list[int]] = {}
    for seed in sorted(stages):
        found.setdefault(frozenset(stages[seed]), []).append(seed)
    return [tuple(seeds) for seeds in found.values()]
