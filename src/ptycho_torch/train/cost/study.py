"""The plan of a study: a row per arm, and how long its stages and the whole take."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ptycho_torch.config.arms import derive, run_settings
from ptycho_torch.config.base import mistake
from ptycho_torch.config.dataset import Dataset, SimulatedDataset
from ptycho_torch.config.plan import StagePlan, likely_winner, stage_names, stage_plan
from ptycho_torch.config.study import Study
from ptycho_torch.config.training import RunSettings
from ptycho_torch.runtime.errors import InputError, nearest
from ptycho_torch.train.cost.cost import Cost, Question, as_json, cost_of, same_cost
from ptycho_torch.train.cost.limits import not_counted
from ptycho_torch.train.cost.workload import Workload, workload_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Settings to try instead of the study's; None: the study's."""

    patch_px: int | None = None
    gridsize: int | None = None
    batch_size: int | None = None
    width: int | None = None
    fno_blocks: int | None = None
    checkpointing: bool | None = None


def plan_study(
    study: Study,
    asked: Question,
    *,
    arm: str | None = None,
    dataset: str | None = None,
    changes: Changes = Changes(),
    runs_at_once: int = 1,
) -> dict[str, Any]:
    """Return rows, and where the whole study is asked for its stages, as `plan.json` has them.

    Parameters
    ----------
    arm, dataset
        Only this arm, on this dataset; None: all of them, on the data of their stages.
    changes
        What to try instead.
    runs_at_once
        Trainings side by side, each as fast as one alone.

    Raises
    ------
    InputError
        If there is no such arm or dataset, or what is to be tried is impossible.
    """
    stages = _stages(study)
    wanted = _wanted(study, stages, arm, dataset)
    works = {
        name: workload_of(_changed_dataset(study.datasets[name], changes))
        for name in dict.fromkeys(name for name, _ in wanted)
    }
    runs = {
        pair: _changed_run(run_settings(study, *pair, seed=0), works[pair[0]], changes)
        for pair in wanted
    }
    costs: dict[str, Cost] = {}
    for (name, _), run in runs.items():
        key = same_cost(run)
        if key not in costs:
            logger.info("%s on %s ...", run.arm, name)
            costs[key] = cost_of(run, works[name], asked)
    found = {pair: costs[same_cost(run)] for pair, run in runs.items()}
    rows = [
        as_json(run, works[name], found[name, run.arm], asked.base.start_s)
        for (name, _), run in runs.items()
    ]
    whole = arm is None and dataset is None
    times = {(row["dataset"], row["arm"]): row["seconds"] for row in rows}
    return {
        "arms": rows,
        "not_counted": not_counted(runs.values()),
        **(_totals(stages, times, runs_at_once) if whole else {}),
    }


def _stages(study: Study) -> list[StagePlan]:
    winner = likely_winner(study)
    return [stage_plan(study, name, winner) for name in stage_names(study)]


def _wanted(
    study: Study, stages: list[StagePlan], arm: str | None, dataset: str | None
) -> list[tuple[str, str]]:
    arms = [*study.arms, *derive(study).variants]
    for name, known, what in ((arm, arms, "arm"), (dataset, list(study.datasets), "dataset")):
        if name is not None and name not in known:
            raise InputError(f"--{what}: there is no {what} '{name}'{nearest(name, known)}")
    pairs = list(dict.fromkeys((stage.dataset, name) for stage in stages for name in stage.arms))
    if arm is not None:
        pairs = [p for p in pairs if p[1] == arm] or [(study.stage_a.dataset, arm)]
    if dataset is not None:
        pairs = list(dict.fromkeys((dataset, name) for _, name in pairs))
    return pairs


def _changed_dataset(data: Dataset, changes: Changes) -> Dataset:
    if changes.patch_px is None and changes.gridsize is None:
        return data
    if not isinstance(data, SimulatedDataset):
        raise InputError("--patch-px and --gridsize change simulated datasets only")
    said = data.model_dump()
    if changes.patch_px is not None:
        said["patch_px"] = changes.patch_px
    if changes.gridsize is not None:
        said["scan"]["gridsize"] = changes.gridsize
    try:
        return SimulatedDataset.model_validate(said)
    except ValidationError as error:
        raise mistake("--patch-px, --gridsize", error) from None


def _changed_run(run: RunSettings, work: Workload, changes: Changes) -> RunSettings:
    said = run.model_dump() | {"patch_px": work.patch_px}
    for block, key in (
        ("training", "batch_size"), ("generator", "width"), ("generator", "fno_blocks"),
        ("execution", "checkpointing"),
    ):  # fmt: skip
        if (value := getattr(changes, key)) is not None:
            said[block][key] = value
    try:
        changed = RunSettings.model_validate(said)
    except ValidationError as error:
        raise mistake(f"{run.arm} on {run.dataset}", error) from None
    if changed.training.batch_size > work.groups["train"]:
        raise InputError(
            f"{run.arm} on {run.dataset}: batch_size is {changed.training.batch_size}, the "
            f"training split has only {work.groups['train']} groups; only full batches train"
        )
    return changed


def _totals(
    stages: list[StagePlan],
    times: Mapping[tuple[str, str], Mapping[str, float] | None],
    runs_at_once: int,
) -> dict[str, Any]:
    """Return runs and seconds of each stage by itself, and of all, each run once."""

    def seconds(runs: set[tuple[str, str, int]]) -> float | None:
        each = [times[name, arm] for name, arm, _ in runs]
        known = [row["run"] for row in each if row is not None]
        return sum(known) / runs_at_once if len(known) == len(each) else None

    every: set[tuple[str, str, int]] = set()
    listed = []
    for stage in stages:
        runs = {(stage.dataset, arm, seed) for arm in stage.arms for seed in stage.seed_list}
        new = runs - every
        every |= runs
        listed.append(
            {"stage": stage.name, "runs": len(runs), "new_runs": len(new),
             "seconds": seconds(runs)}
        )  # fmt: skip
    return {
        "runs_at_once": runs_at_once,
        "stages": listed,
        "study": {"runs": len(every), "seconds": seconds(every)},
    }
