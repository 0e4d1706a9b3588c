"""The cost of a study: a row per arm, how long its stages take, and both as text."""

import os
import time
from collections import Counter
from typing import Any

import torch
from tabulate import tabulate

from ptycho_torch.config.plan import StagePlan, likely_winner, stage_names, stage_plan
from ptycho_torch.config.study import Study, derive, run_settings
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.runtime.errors import InputError, nearest
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.runtime.markdown import duration, number
from ptycho_torch.runtime.memory import process_peak
from ptycho_torch.runtime.provenance import platform_name
from ptycho_torch.runtime.templates import render
from ptycho_torch.train.cost import probe
from ptycho_torch.train.cost.probe import MIB, Workload, workload_of

Row = dict[str, Any]


def study_cost(study: Study, *, arm: str | None, runs_at_once: int | None, probe_steps: int) -> Row:
    """Return what the estimates hold for, rows, and for the whole study its stages, as `plan.json`
    has them; what trains alike on this machine is probed once.

    arm: this one alone (None: all, on the data of their stages); runs_at_once: trainings side by
    side (None: as `snakemake` with this machine's cores runs them); probe_steps: steps that are
    timed (0: nothing is measured). `InputError` if there is no such arm, or no such accelerator.
    """
    known = [*study.arms, *derive(study).variants]
    if arm is not None and arm not in known:
        raise InputError(f"--arm: there is no arm '{arm}'{nearest(arm, known)}")
    stages = [stage_plan(study, name, likely_winner(study)) for name in stage_names(study)]
    pairs = [(stage.dataset, name) for stage in stages for name in stage.arms]
    if arm is not None:
        pairs = [pair for pair in pairs if pair[1] == arm] or [(study.stage_a.dataset, arm)]
    facts, rows, costs = _facts(study, probe_steps), list[Row](), dict[str, Row]()
    for name, of_arm in dict.fromkeys(pairs):
        run, work = run_settings(study, name, of_arm, 0), workload_of(study.datasets[name])
        if (alike := probe.alike(run, work)) not in costs:
            costs[alike] = _cost(run, work, facts)
        rows.append(_row(run, work, costs[alike], facts["base"]["start_s"]))
    if arm is not None:
        return {**facts, "arms": rows}
    if runs_at_once is None:
        cores = 1 if facts["machine"]["gpu"] else usable_threads(os.cpu_count() or 1)
        runs_at_once = max(1, cores // study.execution.threads)
    totals = _totals(stages, rows, runs_at_once, facts["base"]["start_s"], study.seeds_per_job)
    return {**facts, "arms": rows, **totals}


def _facts(study: Study, probe_steps: int) -> Row:
    gpu = choose_device(study.execution.accelerator).type == "cuda"
    return {
        "machine": {
            "device": torch.cuda.get_device_name(0) if gpu else "cpu",
            "gpu": gpu,
            "threads": usable_threads(study.execution.threads),
            "platform": platform_name(),
        },
        # This process has loaded what a job loads, and done nothing else yet.
        "base": {"memory_mib": process_peak() / MIB, "start_s": time.process_time()},
        "probe_steps": probe_steps,
    }


def _cost(run: RunSettings, work: Workload, facts: Row) -> Row:
    """Return parameters, FLOPs, memory, seconds of a step; None where nothing was measured."""
    steps, gpu, base = facts["probe_steps"], facts["machine"]["gpu"], facts["base"]["memory_mib"]
    found, memory = probe.measure(run, work, steps) if steps else None, None
    if found:
        base = 0.0 if gpu else base
        data = 4 * sum(work.groups.values()) * work.channels * work.patch_px**2 / MIB
        # A job on a CPU reads three arrays of a split, and keeps one.
        peak = base + max(data + found["memory_mib"], 0.0 if gpu else 3 * data)
        memory = {"peak": peak, "base": base, "data": data}
    return {**probe.counts(run, work), "memory_mib": memory, "seconds": found}


def _row(run: RunSettings, work: Workload, cost: Row, start_s: float) -> Row:
    """Return a run's settings and cost, with the seconds of an epoch and of the whole job."""
    seconds, steps = cost["seconds"], work.groups["train"] // run.training.batch_size
    if seconds is not None:
        validations, tests = (-(-work.groups[s] // EVAL_BATCH) for s in ("validation", "test"))
        epoch = steps * seconds["step"] + validations * seconds["validation_batch"]
        # The best and the last weights predict the test split.
        whole = run.training.epochs * epoch + 2 * tests * seconds["validation_batch"]
        seconds = {**seconds, "epoch": epoch, "run": start_s + whole}
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
        seeds = Counter((name, arm) for name, arm, _ in runs)
        if not all(times[pair] for pair in seeds):
            return {"runs": len(runs), "seconds": None}
        work_s = sum(
            n * (times[pair]["run"] - start_s) + -(-n // seeds_per_job) * start_s
            for pair, n in seeds.items()
        )
        return {"runs": len(runs), "seconds": work_s / runs_at_once}

    for stage in stages:
        runs = {(stage.dataset, arm, seed) for arm in stage.arms for seed in stage.seed_list}
        listed.append({"stage": stage.name, "new_runs": len(runs - every), **counts(runs)})
        every |= runs
    return {"runs_at_once": runs_at_once, "stages": listed, "study": counts(every)}


def plan_text(plan: Row) -> str:
    """Return an estimate as text, a line for all arms that take the same."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in plan["arms"]:
        alike.setdefault(_cells(row), []).append(row["arm"])
    cells = [
        (arms[0] + (f" and {len(arms) - 1} more" if arms[1:] else ""), *row)
        for row, arms in alike.items()
    ]
    table = tabulate(cells, _HEADERS, "github", disable_numparse=True)
    short = [f"{row['arm']} on {row['dataset']}" for row in plan["arms"] if not row["seconds"]]
    words = {"table": table, "short": short, "duration": duration}
    return render("train.cost", "plan.md.j2", **plan, **words).rstrip()


_HEADERS = (
    *("arm", "dataset", "N", "C", "batch", "blocks", "parameters", "GFLOP a step"),
    *("memory, MiB", "step, s", "epoch", "run"),
)


def _cells(row: Row) -> tuple[str, ...]:
    seconds, run, memory = row["seconds"] or {}, row["settings"], row["memory_mib"]
    stored, full = row["parameters"]["stored"], row["parameters"]["full"]
    return (
        row["dataset"],
        *(str(run["patch_px"]), str(row["channels"]), str(run["training"]["batch_size"])),
        str(run["generator"]["fno_blocks"]),
        f"{number(stored / 1e6)} M ({number(full / 1e6)} M)",
        "not counted" if row["flops_per_step"] is None else number(row["flops_per_step"] / 1e9),
        f"{memory['peak']:,.0f}" if memory else "not measured",
        number(seconds["step"], 2) if seconds else "not timed",
        *(duration(seconds.get(name)) for name in ("epoch", "run")),
    )
