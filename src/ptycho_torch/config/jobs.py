"""How the runs of a study are divided among jobs."""

from itertools import pairwise

from ptycho_torch.config.plan import stage_names, stage_plan
from ptycho_torch.config.study import Study


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
