"""The cost of a study: a row per arm, how long its stages take, and what then happened."""

import statistics
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ptycho_torch.config.arms import derive, run_settings
from ptycho_torch.config.base import mistake
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.plan import StagePlan, likely_winner, stage_names, stage_plan
from ptycho_torch.config.study import Study
from ptycho_torch.config.training import RunSettings
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError, nearest
from ptycho_torch.train.cost.footprint import SPLITS, Workload, workload_of
from ptycho_torch.train.cost.run_cost import Estimator, Row, fit_s, not_counted

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

    arm, dataset: only these (None: all arms, on the data of their stages); data_changes,
    run_changes: what to try instead; runs_at_once: trainings side by side, each as fast as one
    alone.

    Raises
    ------
    InputError
        If there is no such arm or dataset, or what is to be tried is impossible.
    """
    winner = likely_winner(study)
    stages = [stage_plan(study, name, winner) for name in stage_names(study)]
    runs, rows, works = [], [], {}
    for name, of_arm in _requested(study, stages, arm, dataset):
        data, where = study.datasets[name], f"{of_arm} on {name}"
        if data_changes and not isinstance(data, SimulatedDataset):
            raise InputError("--patch-px and --gridsize change simulated datasets only")
        if name not in works:
            works[name] = workload_of(_changed(data, data_changes or {}, "--patch-px, --gridsize"))
        changes = {"patch_px": works[name].patch_px, **(run_changes or {})}
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


def _requested(
    study: Study, stages: list[StagePlan], arm: str | None, dataset: str | None
) -> list[tuple[str, str]]:
    arms = [*study.arms, *derive(study).variants]
    for name, known, what in ((arm, arms, "arm"), (dataset, list(study.datasets), "dataset")):
        if name is not None and name not in known:
            raise InputError(f"--{what}: there is no {what} '{name}'{nearest(name, known)}")
    pairs = [(stage.dataset, name) for stage in stages for name in stage.arms]
    if arm is not None:
        pairs = [p for p in pairs if p[1] == arm] or [(study.stage_a.dataset, arm)]
    return list(dict.fromkeys((dataset or of_stage, name) for of_stage, name in pairs))


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


def compare_results(results: io.PathLike, estimator: Estimator) -> Row:
    """Return estimated and measured memory and time of each arm in a study's folder of results.

    Estimated times are those of this machine: they mean something for runs that were trained on it.

    Raises
    ------
    InputError
        If there is no run, or a run's files are torn or of another version.
    """
    results = Path(results)
    records: dict[tuple[str, str], list[tuple[Row, Row]]] = {}
    for path in sorted(results.glob("train/*/*/seed-*/run.json")):
        record = io.read_json(path), io.read_json(path.parent / "timing.json")
        records.setdefault((path.parts[-4], path.parts[-3]), []).append(record)
    if not records:
        raise InputError(
            f"{results}: has no run.json below train/; --compare takes a study's folder of results"
        )
    rows, left_out, runs = [], [], []
    for (dataset, arm), found in sorted(records.items()):
        device = found[0][1].get("device")
        if (device != "cpu") != estimator.gpu:
            left_out.append(f"{arm} on {dataset}: trained on {device}, not on a device as here")
            continue
        try:
            facts = io.read_json(results / "simulate" / dataset / "dataset.json")
            runs.append(RunSettings.model_validate(found[0][0]["settings"]))
            rows.append(_compared(runs[-1], found, facts, estimator))
        except ValidationError as error:
            raise mistake(f"{arm} on {dataset}: settings of another version", error) from None
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{results}: {arm} on {dataset} is of another version (no {error}); make it again"
            ) from None
    return {"arms": rows, "left_out": left_out, "not_counted": not_counted(runs)}


def _compared(
    run: RunSettings, found: list[tuple[Row, Row]], facts: Row, estimator: Estimator
) -> Row:
    splits, scan = facts["splits"], facts["settings"].get("scan", {})
    work = Workload(
        patch_px=facts["patch_px"],
        channels=splits["train"]["channels"],
        groups={split: splits[split]["groups"] for split in SPLITS},
        reach_px=scan.get("group_offset_px", 0) if scan.get("gridsize", 1) > 1 else 0,
    )
    threads = run.execution.model_copy(update={"threads": int(found[0][1]["threads"])})
    cost, predicted = estimator.cost(run.model_copy(update={"execution": threads}), work), None
    if (seconds := cost["seconds"]) is not None:
        # What was trained, not what was meant to be: a run may have ended early.
        predicted = statistics.median(
            fit_s(seconds, work, steps=facts["steps"], epochs=facts["epochs"]) for facts, _ in found
        )
    wall, memory = (
        statistics.median(float(timing[key]) for _, timing in found)
        for key in ("wall_s", "peak_memory_mib")
    )
    return {
        "dataset": run.dataset,
        "arm": run.arm,
        "runs": len(found),
        "memory_mib": {"predicted": cost["memory_mib"]["peak"], "measured": memory},
        "wall_s": {"predicted": predicted, "measured": wall},
    }
