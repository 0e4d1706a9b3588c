"""What a study costs: weights are counted, memory and time measured by training on noise."""

import math
import os
import statistics
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate

from ptycho_torch.config.dataset import Dataset, DatasetFiles
from ptycho_torch.config.plan import likely_winner, stage_names, stage_plan
from ptycho_torch.config.study import Study, run_settings
from ptycho_torch.config.training import ConstantSchedule, RunSettings
from ptycho_torch.data.batch import Batch, SplitScales
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.data.training import TrainingData
from ptycho_torch.files import io
from ptycho_torch.networks import build_generator, count_flops, count_parameters
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.runtime.markdown import duration, number
from ptycho_torch.runtime.memory import process_peak, shortage
from ptycho_torch.runtime.templates import render
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule

SPLITS = ("train", "validation", "test")
STEPS = 10
"""Steps of each network that are timed."""
MIB = 2**20
Row = dict[str, Any]


class Workload(NamedTuple):
    """Sizes of a dataset: side of a patch, patches of a group, groups of each split."""

    patch_px: int
    channels: int
    groups: dict[str, int]


def workload_of(data: Dataset) -> Workload:
    """Return the sizes of a dataset, which need not exist yet if it is simulated; `InputError` if
    files that it is made from cannot be read."""
    if isinstance(data, DatasetFiles):
        shapes = [io.read_npz(getattr(data, s), "diffraction")["diffraction"].shape for s in SPLITS]
        groups = {split: shape[0] for split, shape in zip(SPLITS, shapes, strict=True)}
        return Workload(data.patch_px, math.prod(shapes[0][3:]), groups)
    steps = dict.fromkeys(SPLITS, data.scan.test_step_px) | {"train": data.scan.train_step_px}
    groups = {s: data.images_per_split * data.groups_per_image(steps[s]) for s in SPLITS}
    return Workload(data.patch_px, data.scan.gridsize**2, groups)


def study_cost(study: Study, *, runs_at_once: int | None) -> Row:
    """Return what the estimates hold for, rows, and of the whole study its stages, as `plan.json`
    has them; what trains alike on this machine is probed once.

    runs_at_once: trainings side by side (None: as `snakemake` with this machine's cores runs them).
    `InputError` if there is no such accelerator.
    """
    gpu = choose_device(study.execution.accelerator).type == "cuda"
    machine = {
        "device": torch.cuda.get_device_name(0) if gpu else "cpu",
        "gpu": gpu,
        "threads": usable_threads(study.execution.threads),
    }
    # This process has loaded what a job loads, and done nothing else yet.
    base = {"memory_mib": process_peak() / MIB, "start_s": time.process_time()}
    stages = [stage_plan(study, name, likely_winner(study)) for name in stage_names(study)]
    rows, costs = dict[tuple[str, str], Row](), dict[str, Row]()
    for pair in [(stage.dataset, name) for stage in stages for name in stage.arms]:
        run, work = run_settings(study, *pair, 0), workload_of(study.datasets[pair[0]])
        if (alike := _alike(run, work)) not in costs:
            costs[alike] = {**_counts(run, work), "measured": measure(run, work)}
        rows[pair] = _row(run, work, costs[alike], base, gpu)
    if runs_at_once is None:
        cores = 1 if gpu else usable_threads(os.cpu_count() or 1)
        runs_at_once = max(1, cores // study.execution.threads)

    def total(runs: set[tuple[str, str, int]]) -> Row:
        """Return number and seconds of runs; a job starts once for all of its seeds."""
        seeds = Counter((dataset, name) for dataset, name, _ in runs)
        if not all(rows[pair]["seconds"] for pair in seeds):
            return {"runs": len(runs), "seconds": None}
        start_s = base["start_s"]
        work_s = sum(
            n * (rows[pair]["seconds"]["run"] - start_s) + -(-n // study.seeds_per_job) * start_s
            for pair, n in seeds.items()
        )
        return {"runs": len(runs), "seconds": work_s / runs_at_once}

    listed, every = [], set[tuple[str, str, int]]()
    for stage in stages:
        runs = {(stage.dataset, name, seed) for name in stage.arms for seed in stage.seed_list}
        listed.append({"stage": stage.name, "new_runs": len(runs - every), **total(runs)})
        every |= runs
    facts = {"machine": machine, "base": base, "runs_at_once": runs_at_once}
    return {**facts, "arms": [*rows.values()], "stages": listed, "study": total(every)}


def _counts(run: RunSettings, work: Workload) -> Row:
    """Count weights, and the FLOPs of convolutions and products."""
    side = work.patch_px
    network = build_generator(run.generator, channels=work.channels, patch_px=side, seed=0)
    flops = count_flops(network, (run.training.batch_size, work.channels, side, side))
    return {"parameters": count_parameters(network), "flops_per_step": flops}


def _row(run: RunSettings, work: Workload, cost: Row, base: Row, gpu: bool) -> Row:
    """Return a run's cost: its job's memory, and the seconds of a step, an epoch and the job."""
    memory, seconds, found = None, None, cost["measured"]
    if found is not None:
        data = 4 * sum(work.groups.values()) * work.channels * work.patch_px**2 / MIB
        memory = data + found["memory_mib"]
        if not gpu:
            # A job on a CPU reads three arrays of a split, and keeps one.
            memory = base["memory_mib"] + max(memory, 3 * data)
        steps = work.groups["train"] // run.training.batch_size
        validation, test = (
            -(-work.groups[split] // EVAL_BATCH) * found["validation_batch"]
            for split in ("validation", "test")
        )
        epoch = steps * found["step"] + validation
        # The best and the last weights predict the test split.
        whole = base["start_s"] + run.training.epochs * epoch + 2 * test
        seconds = {"step": found["step"], "epoch": epoch, "run": whole}
    counted = {key: cost[key] for key in ("parameters", "flops_per_step")}
    names = {"dataset": run.dataset, "arm": run.arm}
    return {**names, "groups": work.groups, **counted, "memory_mib": memory, "seconds": seconds}


def _alike(run: RunSettings, work: Workload) -> str:
    """Return what decides how long a run's steps take: neither rates nor bounds of clipping do."""
    names = {"arm", "seed", "dataset"}
    settings = _for_a_probe(run).model_dump(
        exclude={**dict.fromkeys(names, True), "execution": {"clip"}}
    )
    return f"{settings} {run.execution.clip.gradient_clip_algorithm} {work}"


def _for_a_probe(run: RunSettings) -> RunSettings:
    """Return settings of which noise teaches nothing, and does not end the run either."""
    optimizer = run.training.optimizer.model_copy(update={"learning_rate": 1e-12})
    once = {"epochs": 1, "schedule": ConstantSchedule(name="constant"), "optimizer": optimizer}
    blocks = {
        "training": run.training.model_copy(update=once),
        "execution": run.execution.model_copy(update={"devices": 1}),
    }
    return run.model_copy(update=blocks)


def measure(run: RunSettings, work: Workload) -> dict[str, float] | None:
    """Return what `train_on_noise` does, in a process of its own; None if memory ran out there."""
    server = get_context("forkserver")
    server.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=server) as process:
        try:
            return process.submit(train_on_noise, run, work).result()
        except Exception as error:
            # A pool breaks where the system kills its process, most likely for want of memory.
            if isinstance(error, BrokenProcessPool) or shortage(error) is not None:
                return None
            raise


class _TimedModule(PtychoModule):
    """Notes when each step begins."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.began = [*getattr(self, "began", ()), _now()]


def train_on_noise(run: RunSettings, work: Workload) -> dict[str, float]:
    """Train a run for `STEPS`, after one that is not timed; return the seconds of a `step` and a
    `validation_batch`, and `memory_mib`, what it took at most here, or of a GPU's memory."""
    before = process_peak()
    torch.set_num_threads(usable_threads(run.execution.threads))
    run = _for_a_probe(run)
    data = TrainingData(
        train=_noise(work, (STEPS + 2) * run.training.batch_size),
        validation=_noise(work, min(EVAL_BATCH, work.groups["validation"])),
        probe_MHW=torch.ones(1, work.patch_px, work.patch_px) + 0j,
        scales=dict.fromkeys(("train", "validation"), SplitScales(100.0, 0.5, 3000.0)),
    )
    module = _TimedModule(run, data)
    device = fit(module, data.train, data.validation).device
    module.to(device).eval()
    began, batch = _now(), data.validation.to(device).take(slice(None))
    with torch.no_grad():
        module.validation_losses(batch)
    checked, memory = _now() - began, process_peak() - before
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    step = statistics.median(np.diff(module.began)[1:].tolist())
    return {"step": step, "validation_batch": checked, "memory_mib": memory / MIB}


def _noise(work: Workload, count: int) -> Batch:
    """Return groups of made-up frames; where a group has several, a quarter of a frame apart."""
    places = torch.zeros(count, work.channels, 2, dtype=torch.int64)
    places[:, -1] = work.patch_px // 4
    amplitude = torch.rand(count, work.channels, work.patch_px, work.patch_px)
    return Batch(amplitude, places if work.channels > 1 else None)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def plan_text(plan: Row) -> str:
    """Return an estimate as text, a line for all arms that take the same."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in plan["arms"]:
        alike.setdefault(_cells(row), []).append(row["arm"])
    cells = [
        (arms[0] + (f" and {len(arms) - 1} more" if arms[1:] else ""), *row)
        for row, arms in alike.items()
    ]
    headers = ("arm", "dataset", "parameters", "GFLOP a step", "memory, MiB", "step, s")
    table = tabulate(cells, (*headers, "epoch", "run"), "github", disable_numparse=True)
    return render("train.cost", "plan.md.j2", **plan, table=table, duration=duration).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    seconds, memory, flops = row["seconds"] or {}, row["memory_mib"], row["flops_per_step"]
    stored, full = (number(row["parameters"][name] / 1e6) for name in ("stored", "full"))
    return (
        row["dataset"],
        f"{stored} M ({full} M)",
        "not counted" if flops is None else number(flops / 1e9),
        f"{memory:,.0f}" if memory else "ran out",
        number(seconds["step"], 2) if seconds else "not timed",
        *(duration(seconds.get(name)) for name in ("epoch", "run")),
    )
