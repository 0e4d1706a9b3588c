"""The cost of a study: a row per arm, and how long its stages and the whole take."""

from typing import Any

from pydantic import ValidationError

from ptycho_torch.config.arms import derive, run_settings
from ptycho_torch.config.base import mistake
from ptycho_torch.config.dataset import Dataset, SimulatedDataset
from ptycho_torch.config.plan import StagePlan, likely_winner, stage_names, stage_plan
from ptycho_torch.config.study import Study
from ptycho_torch.runtime.errors import InputError, nearest
from ptycho_torch.train.cost.run_cost import Estimator, Row, not_counted
from ptycho_torch.train.cost.workload import Workload, workload_of

Changes = dict[str, Any]
"""Values to try instead of the study's, by their path in a run's or a dataset's settings."""


def study_cost(
    study: Study,
    estimator: Estimator,
    *,
    arm: str | None = None,
    dataset: str | None = None,
    data_changes: Changes | None = None,
    run_changes: Changes | None = None,
    runs_at_once: int = 1,
) -> Row:
    """Return rows, and for the whole study its stages, as `plan.json` has them.

    Parameters
    ----------
    arm, dataset
        Only this arm, on this dataset; None: all of them, on the data of their stages.
    data_changes, run_changes
        What to try instead: of simulated datasets, as `scan.gridsize`, and of runs.
    runs_at_once
        Trainings side by side, each as fast as one alone.

    Raises
    ------
    InputError
        If there is no such arm or dataset, or what is to be tried is impossible.
    """
    winner = likely_winner(study)
    stages = [stage_plan(study, name, winner) for name in stage_names(study)]
    runs, rows, works = [], [], {}
    for name, of_arm in _requested(study, stages, arm, dataset):
        if name not in works:
            works[name] = _work(study.datasets[name], data_changes or {})
        changes = {"patch_px": works[name].patch_px, **(run_changes or {})}
        where = f"{of_arm} on {name}"
        runs.append(_changed(run_settings(study, name, of_arm, seed=0), changes, where))
        batch, groups = runs[-1].training.batch_size, works[name].groups["train"]
        if batch > groups:
            raise InputError(
                f"{where}: batch_size is {batch}, the training split has only {groups} groups; "
                "only full batches train"
            )
        rows.append(estimator.row(runs[-1], works[name]))
    whole = _totals(stages, rows, runs_at_once) if arm is None and dataset is None else {}
    return {"arms": rows, "not_counted": not_counted(runs), **whole}


def _work(data: Dataset, changes: Changes) -> Workload:
    if changes and not isinstance(data, SimulatedDataset):
        raise InputError("--patch-px and --gridsize change simulated datasets only")
    return workload_of(_changed(data, changes, "--patch-px, --gridsize"))


def _requested(
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


def _changed(settings: Any, changes: Changes, where: str) -> Any:
    """Return settings with some values changed, by their path as in `training.batch_size`."""
    values = settings.model_dump()
    for path, value in changes.items():
        block, _, key = path.rpartition(".")
        (values[block] if block else values)[key] = value
    try:
        return type(settings).model_validate(values)
    except ValidationError as error:
        raise mistake(where, error) from None


def _totals(stages: list[StagePlan], rows: list[Row], runs_at_once: int) -> Row:
    """Return runs and seconds of each stage by itself, and of all, each run once."""
    times = {(row["dataset"], row["arm"]): row["seconds"] for row in rows}

    def seconds(runs: set[tuple[str, str, int]]) -> float | None:
        each = [times[name, arm] for name, arm, _ in runs]
        return None if None in each else sum(row["run"] for row in each) / runs_at_once

    every: set[tuple[str, str, int]] = set()
    listed = []
    for stage in stages:
        runs = {(stage.dataset, arm, seed) for arm in stage.arms for seed in stage.seed_list}
        counts = {"runs": len(runs), "new_runs": len(runs - every)}
        listed.append({"stage": stage.name, **counts, "seconds": seconds(runs)})
        every |= runs
    whole = {"runs": len(every), "seconds": seconds(every)}
    return {"runs_at_once": runs_at_once, "stages": listed, "study": whole}
