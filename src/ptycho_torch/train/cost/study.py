"""The cost of a study: a row per arm, how long its stages take, and what then happened."""

import statistics
import time
from bisect import bisect_right
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import ValidationError

from ptycho_torch.config.arms import derive, run_settings
from ptycho_torch.config.base import mistake
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.plan import StagePlan, likely_winner, stage_names, stage_plan
from ptycho_torch.config.study import Study
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError, nearest
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import platform_name
from ptycho_torch.train.cost import probe
from ptycho_torch.train.cost.probe import MIB, SPLITS, Workload, workload_of
from ptycho_torch.train.cost.report import MOST_BLOCKS

Row = dict[str, Any]
Changes = dict[str, Any]
"""Values to try instead of the study's, by their path in a run's or a dataset's settings."""

_COSTS_NOTHING: dict[str, Any] = {
    **{"arm": True, "seed": True, "dataset": True},
    "training": {
        **{"epochs": True, "schedule": True},
        "optimizer": {"learning_rate", "beta1", "beta2", "weight_decay"},
    },
    "execution": {"clip": {"max_norm", "max_value", "max_ratio", "min_weight_norm"}},
}


class Estimator:
    """Estimates runs on this machine; those that take the same are probed once.

    memory_gib: what has to suffice (None: what the machine has); probe_steps: steps that are timed
    (0: nothing is measured); largest: whether to look for the largest batch and depth; facts: what
    the estimates hold for. `InputError` if the accelerator is not there.
    """

    def __init__(
        self,
        accelerator: str,
        threads: int,
        memory_gib: float | None,
        probe_steps: int,
        *,
        largest: bool,
    ) -> None:
        self.gpu, self.largest = choose_device(accelerator).type == "cuda", largest
        free = torch.cuda.get_device_properties(0).total_memory if self.gpu else free_memory()
        self.facts: Row = {
            "machine": {
                "device": torch.cuda.get_device_name(0) if self.gpu else "cpu",
                "gpu": self.gpu,
                "threads": usable_threads(threads),
                "memory_gib": round(free / 2**30, 2),
                "platform": platform_name(),
            },
            # This process has loaded what a job loads, and done nothing else yet.
            "base": {"memory_mib": process_peak() / MIB, "start_s": time.process_time()},
            "memory_gib": memory_gib or round(free / 2**30, 2),
            "probe_steps": probe_steps,
        }
        self._known: dict[str, Row] = {}

    def cost(self, run: RunSettings, work: Workload) -> Row:
        """Return parameters, operations, memory, seconds of a step, largest batch and depth."""
        key = f"{run.model_dump(exclude=_COSTS_NOTHING)} {work}"
        if key in self._known:
            return self._known[key]
        base = 0.0 if self.gpu else self.facts["base"]["memory_mib"]
        limit, steps = 1024 * self.facts["memory_gib"], self.facts["probe_steps"]
        counted, frames = probe.count(run, work), sum(work.groups.values()) * work.channels
        data = 4 * frames * work.patch_px**2 / MIB
        least = counted["weights"] + counted["saved"]
        # What does not fit would take the machine down instead of a time.
        fits = base + data + least <= min(limit, 1024 * self.facts["machine"]["memory_gib"])
        found = probe.measure(run, work, steps) if steps and fits else None
        # As much over what can be counted, at any size, as at the one that was probed.
        factor = found["memory_mib"] / least if found else 1.0
        # A job on a CPU reads three arrays of a split, and keeps one.
        peak = base + max(data + factor * least, 0.0 if self.gpu else 3 * data)
        largest_batch = largest_fno_blocks = None
        if self.largest:
            room = (limit - base - data) / factor

            def needed(blocks: int) -> float:
                generator = run.generator.model_copy(update={"fno_blocks": blocks})
                other = probe.count(run.model_copy(update={"generator": generator}), work)
                return float(other["weights"] + other["saved"])

            groups = run.training.batch_size * (room - counted["weights"]) / counted["saved"]
            largest_batch = max(0, min(int(groups), work.groups["train"]))
            depths = range(run.generator.levels or 1, MOST_BLOCKS + 1)
            fitting = bisect_right(depths, room, key=needed)
            largest_fno_blocks = depths[fitting - 1] if fitting else 0
        self._known[key] = {
            **counted,
            "memory_mib": {"peak": peak, "base": base, "data": data},
            "seconds": found,
            "largest_batch": largest_batch,
            "largest_fno_blocks": largest_fno_blocks,
        }
        return self._known[key]


def fit_s(seconds: dict[str, float], work: Workload, *, steps: int, epochs: int) -> float:
    """Return the seconds of a training: so many steps, and a validation after each epoch."""
    batches = -(-work.groups["validation"] // EVAL_BATCH)
    return steps * seconds["step"] + epochs * batches * seconds["validation_batch"]


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of main memory that a new process can have here, or in a container."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # No such files, or a limit of "max".
        return free


def study_cost(
    study: Study,
    estimator: Estimator,
    *,
    arm: str | None,
    dataset: str | None,
    changes: tuple[Changes, Changes],
    runs_at_once: int,
) -> Row:
    """Return rows, and for the whole study its stages, as `plan.json` has them.

    arm, dataset: only these (None: all arms, on the data of their stages); changes: what to try
    instead, of datasets and of runs; runs_at_once: trainings side by side. `InputError` if there is
    no such arm or dataset, or what is to be tried is impossible.
    """
    stages = [stage_plan(study, name, likely_winner(study)) for name in stage_names(study)]
    rows = []
    for name, of_arm in _requested(study, stages, arm, dataset):
        data, where = study.datasets[name], f"{of_arm} on {name}"
        if changes[0] and not isinstance(data, SimulatedDataset):
            raise InputError("--patch-px and --gridsize change simulated datasets only")
        work = workload_of(_changed(data, changes[0], "--patch-px, --gridsize"))
        run = run_settings(study, name, of_arm, seed=0)
        run = _changed(run, {"patch_px": work.patch_px, **changes[1]}, where)
        batch, groups = run.training.batch_size, work.groups["train"]
        if batch > groups:
            raise InputError(f"{where}: batch_size is {batch}, training has only {groups} groups")
        rows.append(_row(run, work, estimator))
    whole = _totals(stages, rows, runs_at_once) if arm is None and dataset is None else {}
    return {"arms": rows, **whole}


def _row(run: RunSettings, work: Workload, estimator: Estimator) -> Row:
    """Return a run's settings and cost, with the seconds of an epoch and of the whole job."""
    cost, epochs, batch = estimator.cost(run, work), run.training.epochs, run.training.batch_size
    steps, seconds = work.groups["train"] // batch, cost["seconds"]
    if seconds is not None:
        epoch = fit_s(seconds, work, steps=steps, epochs=1)
        # The best and the last weights predict the test split.
        tests = 2 * -(-work.groups["test"] // EVAL_BATCH) * seconds["validation_batch"]
        whole = estimator.facts["base"]["start_s"] + epochs * epoch + tests
        seconds = {**seconds, "epoch": epoch, "run": whole}
    return {
        "dataset": run.dataset,
        "arm": run.arm,
        "settings": run.model_dump(mode="json"),
        "channels": work.channels,
        "groups": work.groups,
        **cost,
        "seconds": seconds,
    }


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
    listed, every = [], set[tuple[str, str, int]]()

    def counts(runs: set[tuple[str, str, int]]) -> Row:
        each = [times[name, arm] for name, arm, _ in runs]
        seconds = None if None in each else sum(row["run"] for row in each) / runs_at_once
        return {"runs": len(runs), "seconds": seconds}

    for stage in stages:
        runs = {(stage.dataset, arm, seed) for arm in stage.arms for seed in stage.seed_list}
        listed.append({"stage": stage.name, "new_runs": len(runs - every), **counts(runs)})
        every |= runs
    return {"runs_at_once": runs_at_once, "stages": listed, "study": counts(every)}


def compare_results(results: io.PathLike, estimator: Estimator) -> Row:
    """Return estimated and measured memory and time of each arm in a study's folder of results.

    Times are those of this machine: they mean something for runs that were trained on it.
    `InputError` if there is no run, or a run's files are torn or of another version.
    """
    rows, left_out = [], []
    paths = sorted(Path(results).glob("train/*/*/seed-*/run.json"))
    if not paths:
        raise InputError(f"{results}: has no run.json below train/; give a study's results")
    for (dataset, arm), same in groupby(paths, lambda path: path.parts[-4:-2]):
        found = [(io.read_json(path), io.read_json(path.parent / "timing.json")) for path in same]
        device = found[0][1].get("device")
        if (device != "cpu") != estimator.gpu:
            left_out.append(f"{arm} on {dataset}: trained on {device}, not on a device as here")
            continue
        try:
            facts = io.read_json(Path(results) / "simulate" / dataset / "dataset.json")
            rows.append(_compared(found, facts, estimator))
        except (KeyError, TypeError, ValidationError) as error:
            why = str(error).splitlines()[0]
            raise InputError(
                f"{results}: {arm} on {dataset} is of another version ({why}); make it again"
            ) from None
    return {"arms": rows, "left_out": left_out}


def _compared(found: list[tuple[Row, Row]], facts: Row, estimator: Estimator) -> Row:
    splits, scan = facts["splits"], facts["settings"].get("scan", {})
    work = Workload(
        patch_px=facts["patch_px"],
        channels=splits["train"]["channels"],
        groups={split: splits[split]["groups"] for split in SPLITS},
        reach_px=scan.get("group_offset_px", 0) if scan.get("gridsize", 1) > 1 else 0,
    )
    threads = {"execution.threads": int(found[0][1]["threads"])}
    run = _changed(RunSettings.model_validate(found[0][0]["settings"]), threads, "threads")
    cost, predicted = estimator.cost(run, work), None
    if seconds := cost["seconds"]:
        # What was trained, not what was meant to be: a run may have ended early.
        done = [fit_s(seconds, work, steps=r["steps"], epochs=r["epochs"]) for r, _ in found]
        predicted = statistics.median(done)
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
