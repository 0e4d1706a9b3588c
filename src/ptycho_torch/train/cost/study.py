"""The cost of a study: a row per arm, and how long its stages take."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import torch

from ptycho_torch.config.arms import derive, run_settings
from ptycho_torch.config.plan import StagePlan, likely_winner, stage_names, stage_plan
from ptycho_torch.config.study import Study
from ptycho_torch.config.training import ExecutionSettings, RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.runtime.errors import InputError, nearest
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import platform_name
from ptycho_torch.train.cost import probe
from ptycho_torch.train.cost.probe import MIB, Workload, workload_of

Row = dict[str, Any]
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

    probe_steps: steps that are timed (0: nothing is measured); facts: what the estimates hold for.
    `InputError` if the accelerator is not there.
    """

    def __init__(self, execution: ExecutionSettings, probe_steps: int) -> None:
        self.gpu = choose_device(execution.accelerator).type == "cuda"
        free = torch.cuda.get_device_properties(0).total_memory if self.gpu else free_memory()
        self.facts: Row = {
            "machine": {
                "device": torch.cuda.get_device_name(0) if self.gpu else "cpu",
                "gpu": self.gpu,
                "threads": usable_threads(execution.threads),
                "memory_gib": round(free / 2**30, 2),
                "platform": platform_name(),
            },
            # This process has loaded what a job loads, and done nothing else yet.
            "base": {"memory_mib": process_peak() / MIB, "start_s": time.process_time()},
            "probe_steps": probe_steps,
        }
        self._known: dict[str, Row] = {}

    def cost(self, run: RunSettings, work: Workload) -> Row:
        """Return parameters, operations, memory, seconds of a step."""
        key = f"{run.model_dump(exclude=_COSTS_NOTHING)} {work}"
        if key in self._known:
            return self._known[key]
        base = 0.0 if self.gpu else self.facts["base"]["memory_mib"]
        steps = self.facts["probe_steps"]
        counted, frames = probe.count(run, work), sum(work.groups.values()) * work.channels
        data = 4 * frames * work.patch_px**2 / MIB
        least = counted["weights"] + counted["saved"]
        # What does not fit would take the machine down instead of a time.
        fits = base + data + least <= 1024 * self.facts["machine"]["memory_gib"]
        found = probe.measure(run, work, steps) if steps and fits else None
        held = found["memory_mib"] if found else least
        # A job on a CPU reads three arrays of a split, and keeps one.
        peak = base + max(data + held, 0.0 if self.gpu else 3 * data)
        self._known[key] = {
            **counted,
            "memory_mib": {"peak": peak, "base": base, "data": data},
            "seconds": found,
        }
        return self._known[key]


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of main memory that a new process can have here, or in a container."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # No such files, or a limit of "max".
        return free


def study_cost(
    study: Study, estimator: Estimator, *, arm: str | None, runs_at_once: int | None
) -> Row:
    """Return rows, and for the whole study its stages, as `plan.json` has them.

    arm: this one alone (None: all, on the data of their stages); runs_at_once: trainings side by
    side (None: as `snakemake` with this machine's cores runs them). `InputError` if there is no
    such arm.
    """
    known = [*study.arms, *derive(study).variants]
    if arm is not None and arm not in known:
        raise InputError(f"--arm: there is no arm '{arm}'{nearest(arm, known)}")
    stages = [stage_plan(study, name, likely_winner(study)) for name in stage_names(study)]
    pairs = [(stage.dataset, name) for stage in stages for name in stage.arms]
    if arm is not None:
        pairs = [pair for pair in pairs if pair[1] == arm] or [(study.stage_a.dataset, arm)]
    rows = [
        _row(run_settings(study, name, of_arm, 0), workload_of(study.datasets[name]), estimator)
        for name, of_arm in dict.fromkeys(pairs)
    ]
    if arm is not None:
        return {"arms": rows}
    at_once = (
        1
        if estimator.gpu
        else max(1, usable_threads(os.cpu_count() or 1) // study.execution.threads)
    )
    start_s = estimator.facts["base"]["start_s"]
    totals = _totals(stages, rows, runs_at_once or at_once, start_s, study.seeds_per_job)
    return {"arms": rows, **totals}


def _row(run: RunSettings, work: Workload, estimator: Estimator) -> Row:
    """Return a run's settings and cost, with the seconds of an epoch and of the whole job."""
    cost, epochs, batch = estimator.cost(run, work), run.training.epochs, run.training.batch_size
    steps, seconds = work.groups["train"] // batch, cost["seconds"]
    if seconds is not None:
        validations = -(-work.groups["validation"] // EVAL_BATCH)
        epoch = steps * seconds["step"] + validations * seconds["validation_batch"]
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


def _totals(
    stages: list[StagePlan], rows: list[Row], runs_at_once: int, start_s: float, seeds_per_job: int
) -> Row:
    """Return runs and seconds of each stage by itself, and of all, each run once; a job starts
    once for all of its seeds."""
    times = {(row["dataset"], row["arm"]): row["seconds"] for row in rows}
    listed, every = [], set[tuple[str, str, int]]()

    def counts(runs: set[tuple[str, str, int]]) -> Row:
        each = [times[name, arm] for name, arm, _ in runs]
        if None in each:
            return {"runs": len(runs), "seconds": None}
        of_arms = Counter((name, arm) for name, arm, _ in runs)
        jobs = sum(-(-seeds // seeds_per_job) for seeds in of_arms.values())
        work_s = sum(row["run"] - start_s for row in each) + jobs * start_s
        return {"runs": len(runs), "seconds": work_s / runs_at_once}

    for stage in stages:
        runs = {(stage.dataset, arm, seed) for arm in stage.arms for seed in stage.seed_list}
        listed.append({"stage": stage.name, "new_runs": len(runs - every), **counts(runs)})
        every |= runs
    return {"runs_at_once": runs_at_once, "stages": listed, "study": counts(every)}
