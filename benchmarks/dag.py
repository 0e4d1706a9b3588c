"""How long Snakemake takes to plan a study, against its number of runs: `make bench-dag`.

Dry runs of Stage A on a copy of the smallest study with more arms and seeds, beside two Snakefiles
that know nothing of it: one of the same jobs and files, one of as many jobs with a file each. All
take turns, three times each; median CPU time (user and system; a dry run is one thread), wall
time, peak memory of the process, jobs and files.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from side_by_side import Goal, command, table, take_turns

from ptycho_torch.runtime.markdown import number

ROOT = Path(__file__).resolve().parents[1]
FILES_PER_RUN = 9
"""Seven of training, two of evaluation (docs/reference/files.md); logs not counted."""

GOALS_S = {1000: 3, 5000: 12}
"""Runs -> seconds that their dry run may take."""

BARE = """
runs = range(config["runs"])
TRAIN = ["run.json", "timing.json", "history.csv", "bundle/bundle.json"]
TRAIN = [*TRAIN, "bundle/weights.safetensors", "last.safetensors", "test_patches.npz"]
SCORES, DATA = ["metrics.json", "reconstruction.npz"], ["train", "validation", "test", "dataset"]
SEEN = ["run.json", "test_patches.npz"]
if config["files"] == "one":
    TRAIN, SCORES, DATA, SEEN = TRAIN[:1], SCORES[:1], [], TRAIN[:1]

rule all:
    input:
        [f"train/{run}/{file}" for file in TRAIN[:3] for run in runs],
        [f"evaluate/{run}/{file}" for file in SCORES for run in runs],

rule simulate:
    output: [f"simulate/{name}" for name in DATA or ["none"]]
    script: "job.py"

rule train:
    input: [f"simulate/{name}" for name in DATA]
    output: [f"train/{{run}}/{file}" for file in TRAIN]
    log: "logs/train/{run}.log"
    script: "job.py"

rule evaluate:
    input: [f"simulate/{name}" for name in DATA[2:]], [f"train/{{run}}/{file}" for file in SEEN]
    output: [f"evaluate/{{run}}/{file}" for file in SCORES]
    log: "logs/evaluate/{run}.log"
    script: "job.py"
"""
"""What a study's runs are to Snakemake, without settings, code and functions."""


class Size(NamedTuple):
    """A study's size, and how many seeds a job has."""

    arms: int
    seeds: int
    seeds_per_job: int = 1

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.arms * self.seeds


SIZES = (
    *(Size(2, 5), Size(4, 25), Size(4, 250), Size(5, 1000)),
    *(Size(40, 25, 25), Size(200, 25, 25)),
)


def study(size: Size) -> dict:
    """Return the smallest study with so many arms and seeds."""
    data = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text(encoding="utf-8"))
    for block in ("stress", "sweeps", "stage_b", "pivot", "decision"):
        data.pop(block, None)
    names = [f"arm{number}" for number in range(size.arms)]
    clip = {"gradient_clip_algorithm": "norm"}
    data["arms"] = {
        name: {
            "hypothesis": "one of many",
            "execution": {"clip": {**clip, "max_norm": 1.0 + number}},
        }
        for number, name in enumerate(names)
    }
    data["stage_a"].update(control=names[0], arms=names, seeds=size.seeds)
    data["seeds_per_job"] = size.seeds_per_job
    return data


def dry_run(words: Sequence[str], folder: Path, cpu: list[float]) -> None:
    """Plan and run nothing; keep the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--cores", "4", *words],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure(repeats: int = 3, sizes: Sequence[Size] = SIZES) -> dict[str, Any]:
    """Return the CPU and wall seconds of dry runs by size, and the largest process's memory."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "Snakefile").write_text(BARE)
        (folder / "job.py").touch()
        for place, size in enumerate(sizes):
            file = folder / f"{place}.yaml"
            file.write_text(yaml.safe_dump(study(size)))
            ours = ["stage_a_summary", "--configfile", str(file), "--directory", str(folder)]
            bare = {n: ["--config", f"runs={size.runs}", f"files={n}"] for n in ("same", "one")}
            cpu: dict[str, list[float]] = {"study": [], "same": [], "one": []}
            programs = {"study": partial(dry_run, ours, ROOT, cpu["study"])}
            if size.seeds_per_job == 1:
                programs |= {n: partial(dry_run, bare[n], folder, cpu[n]) for n in bare}
            wall = take_turns(programs, rounds=repeats, warmups=0)
            rows.append({**size._asdict(), "cpu_s": cpu, "wall_s": wall})
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"rows": rows, "peak_memory_mib": peak}


def _size(row: Mapping[str, Any]) -> Size:
    return Size(row["arms"], row["seeds"], row["seeds_per_job"])


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per size, and the memory of the largest."""
    rows = []
    for row in result["rows"]:
        size, cpu = _size(row), row["cpu_s"]
        jobs = 2 * size.arms * -(-size.seeds // size.seeds_per_job) + 4
        median = {name: number(statistics.median(taken)) for name, taken in cpu.items() if taken}
        wall = number(statistics.median(row["wall_s"]["study"]))
        seconds = [median["study"], wall, median.get("same", ""), median.get("one", "")]
        counts = [size.runs, size.arms, size.seeds, size.seeds_per_job, jobs]
        rows.append([f"{n:,}" for n in [*counts, FILES_PER_RUN * size.runs]] + seconds)
    header = [
        *("runs", "arms", "seeds", "seeds a job", "jobs", "files of runs"),
        *("dry run, CPU s", "its wall time, s"),
        *("bare, same jobs and files, CPU s", "bare, as many jobs of one file, CPU s"),
    ]
    memory = f"Peak memory of the largest: {number(result['peak_memory_mib'])} MiB."
    return f"{table(header, rows)}\n\n{memory}"


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return what planning was to take, with a job for each run."""
    found = []
    for row in result["rows"]:
        runs, asked = _size(row).runs, GOALS_S.get(_size(row).runs)
        if asked is not None and row["seeds_per_job"] == 1:
            ours, same = (statistics.median(row["cpu_s"][n]) for n in ("study", "same"))
            reached = (
                f"{number(ours)} s of CPU time; a bare Snakefile of the same: {number(same)} s"
            )
            what = f"plan of {runs:,} runs, a job for each"
            found.append(Goal(what, f"at most {asked} s", reached, ours <= asked))
    return found


if __name__ == "__main__":
    command("dag", measure, tables)
