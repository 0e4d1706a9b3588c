"""A GPU in ten minutes: `bash benchmarks/gpu.sh`, or `make bench ONLY=gpu` in the environment.

Parts, the most important first: the tests that need a GPU; a training step beside the plain network
and the floor; the Trainer beside its bare loop; trainings that share the GPU; Stage A of the full
protocol. Each is a process of its own with a time limit, and the rows that it had until it failed
or was stopped are kept. `--tiny` tries the script on a CPU, in seconds.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import overhead
import side_by_side
import torch
from gpu_step import TINY, Rows, Sizes, failure, steps

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import run_settings
from ptycho_torch.data.training import data_of_splits
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.markdown import number
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule

ROOT = Path(__file__).resolve().parents[1]


def tests(sizes: Sizes, limit_s: float) -> Rows:
    """Run the tests that need a GPU."""
    words = ["-m", "gpu", "-v", "-p", "no:cacheprovider", "tests/train/test_gpu.py"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pytest", *words],
        cwd=ROOT,
        env=os.environ | {"PTYCHO_TEST_DEVICE": sizes.device},
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout or ():
        print(line, end="", file=sys.stderr)
        if found := re.match(r"\S*::(.+) (PASSED|FAILED|ERROR|SKIPPED)", line):
            yield {"test": found[1], "outcome": found[2].lower()}
    if status := process.wait():
        raise RuntimeError(f"pytest ended with status {status}")


def trainer(sizes: Sizes, limit_s: float) -> Rows:
    """Compare a training job with its bare loop."""
    for name, execution in sizes.settings.items():
        size = {"study": sizes.study, "size_px": sizes.object_px, "epochs": sizes.epochs}
        found = overhead.compare({name: {**size, **execution}}, min(sizes.rounds, 3))[name]
        taken = found["seconds"]
        ms = {f"{k}, ms": 1000 * statistics.median(t) / found["steps"] for k, t in taken.items()}
        ratio = side_by_side.ratio(taken, overhead.JOB, overhead.BARE)
        yield {"settings": name, **ms, **{f"ratio, {k}": value for k, value in ratio.items()}}


class TimedModule(PtychoModule):
    """Notes when each epoch ends, and stops `limit_s` after the first did."""

    limit_s: float

    def on_train_epoch_end(self) -> None:
        """Look at the clock."""
        super().on_train_epoch_end()
        self.ends = [*getattr(self, "ends", ()), time.perf_counter()]
        self.trainer.should_stop |= self.ends[-1] - self.ends[0] > self.limit_s


def train(case: overhead.Case, limit_s: float) -> tuple[list[float], int]:
    """Train for some seconds; return when each epoch ended, and the steps of an epoch."""
    torch.set_num_threads(usable_threads(case.run.execution.threads))
    endless = case.run.training.model_copy(update={"epochs": 1_000_000})
    module = TimedModule(case.run.model_copy(update={"training": endless}), case.data)
    module.limit_s = limit_s
    fit(module, case.data.train, case.data.validation)
    return module.ends, len(case.data.train) // endless.batch_size


def sharing(sizes: Sizes, limit_s: float) -> Rows:
    """Add up the rates of trainings that begin together and take the same time."""
    for name, execution in sizes.settings.items():
        case, alone = overhead.make_case(sizes.study, sizes.object_px, 1, **execution), 0.0
        for jobs in sizes.jobs:
            with processes().Pool(jobs) as pool:
                found = pool.starmap(train, [(case, sizes.sharing_s)] * jobs, chunksize=1)
            together = sum((len(ends) - 1) * n / (ends[-1] - ends[0]) for ends, n in found)
            alone = alone or together
            row = {"settings": name, "trainings": jobs, "steps a second, together": together}
            yield {**row, "times one alone": together / alone}


def stage_a(sizes: Sizes, limit_s: float) -> Rows:
    """Train each arm on the whole dataset for its share of the time, and extrapolate."""
    end = time.perf_counter() + 0.9 * limit_s
    study = parse_study(load_yaml(ROOT / "config" / sizes.study), sizes.study)
    stage, name = study.stage_a, study.stage_a.dataset
    dataset = study.datasets[name]
    with tempfile.TemporaryDirectory() as folder:
        splits, summary = {s: Path(folder) / f"{s}.npz" for s in SPLITS}, Path(folder) / "json"
        simulate_dataset(dataset, name=name, splits=splits, summary=summary)
        data = data_of_splits(splits, summary, patch_px=dataset.patch_px)
    left = len(sizes.settings) * len(stage.arms)
    for settings, execution in sizes.settings.items():
        hours = 0.0
        for arm in stage.arms:
            run, began = run_settings(study, name, arm, seed=0), time.perf_counter()
            own = run.execution.model_copy(update=execution)
            case = overhead.Case(run=run.model_copy(update={"execution": own}), data=data)
            ends, _ = train(case, min((end - began) / left / 2, sizes.arm_s))
            left -= 1
            # The start of a fit is in its first epoch.
            epoch_s = statistics.median([b - a for a, b in pairwise(ends)] or [ends[0] - began])
            hours += epoch_s * run.training.epochs / 3600
            row = {"settings": settings, "arm": arm, "epochs": len(ends), "s an epoch": epoch_s}
            yield {**row, "minutes a run": epoch_s * run.training.epochs / 60}
        for seeds in sorted({len(stage.seed_list), *getattr(stage.seeds, "looks", ())}):
            yield {"settings": settings, "seeds": seeds, "hours, one after another": hours * seeds}


PARTS = {
    "tests": (tests, 150),
    "steps": (steps, 170),
    "trainer": (trainer, 60),
    "sharing": (sharing, 140),
    "stage_a": (stage_a, 600),
}
"""Name -> what yields its rows, and its most seconds."""


def processes() -> Any:
    """Return what starts processes with the slow imports behind them and CUDA before them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ptycho_torch.train.run"])
    return context


def write_rows(part: str, sizes: Sizes, limit_s: float, path: Path) -> None:
    """Append a part's rows to a file as they come."""
    os.setpgrp()  # So that what it starts is stopped with it.
    with path.open("a", encoding="utf-8", buffering=1) as rows:
        try:
            for row in PARTS[part][0](sizes, limit_s):
                rows.write(json.dumps(row) + "\n")
        except Exception as error:
            rows.write(json.dumps(failure(error, part)) + "\n")


def measure(sizes: Sizes, limit_s: float) -> dict[str, Any]:
    """Return the rows of each part, which together take at most so many seconds."""
    end, result = time.monotonic() + limit_s, {"parts": {}}
    for part, (_, most) in PARTS.items():
        limit_s = max(min(most, end - time.monotonic()), 1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows"
            path.touch()
            process = processes().Process(target=write_rows, args=(part, sizes, limit_s, path))
            process.start()
            process.join(limit_s)
            if process.is_alive():
                with contextlib.suppress(ProcessLookupError):  # Before it has a group.
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.join()
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        if process.exitcode:
            why = f"ended with {process.exitcode}; it had {number(limit_s)} s"
            rows.append({"failed": part, "error": why})
        result["parts"][part] = rows
        side_by_side.write("gpu", result)
    return result


def tables(result: Mapping[str, Any]) -> str:
    """Return the rows of each part as tables, one for each kind of row."""

    def cell(value: object) -> str:
        return number(value) if isinstance(value, float) else str(value)

    texts = []
    for part, rows in result["parts"].items():
        texts.append(f"**{part}**")
        for header, group in groupby(rows, key=tuple):
            cells = [[cell(value) for value in row.values()] for row in group]
            texts.append(side_by_side.table(header, cells))
    return "\n\n".join(texts)


def goals(result: Mapping[str, Any]) -> list[side_by_side.Goal]:
    """Return the fastest step; 0.8 ms is the stretch."""
    rows = [row for row in result["parts"]["steps"] if "ms a step" in row]
    if not rows:
        return []
    best = min(rows, key=lambda row: row["ms a step"])
    reached = f"{number(best['ms a step'])} ms ({best['program']}, {best['precision']})"
    what = "training step of `hybrid` on an H200, N=64, width 32, batch 16"
    return [side_by_side.Goal(what, "1.5 ms", reached, best["ms a step"] <= 1.5)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="try the script on a CPU, in seconds")
    sizes = TINY if parser.parse_args().tiny else Sizes()
    found = side_by_side.command("gpu", measure, tables, sizes=sizes, limit_s=570)
    sys.exit(any("error" in row for rows in found["parts"].values() for row in rows))
