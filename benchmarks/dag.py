"""How long Snakemake takes to plan a study, against its number of runs: `make bench-dag`.

Dry runs of Stage A on a copy of the smallest study with more arms and seeds, alternating in
order, three times each; median wall time, peak memory of the process, jobs and files.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from side_by_side import command, table, take_turns

from ptycho_torch.runtime.markdown import number

ROOT = Path(__file__).resolve().parents[1]
SIZES = {10: (2, 5), 100: (4, 25), 1000: (4, 250), 5000: (5, 1000)}
"""Runs -> (arms, seeds)."""

FILES_PER_RUN = 9
"""Seven of training, two of evaluation (docs/reference/files.md); logs not counted."""


def study(arms: int, seeds: int) -> dict:
    """Return the smallest study with so many arms and seeds."""
    data = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text(encoding="utf-8"))
    for block in ("stress", "sweeps", "stage_b", "pivot", "decision"):
        data.pop(block, None)
    names = [f"arm{number}" for number in range(arms)]
    clip = {"gradient_clip_algorithm": "norm"}
    data["arms"] = {
        name: {
            "hypothesis": "one of many",
            "execution": {"clip": {**clip, "max_norm": 1.0 + number}},
        }
        for number, name in enumerate(names)
    }
    data["stage_a"].update(control=names[0], arms=names, seeds=seeds)
    return data


def dry_run(folder: Path, config: Path) -> None:
    """Plan a study and run nothing."""
    words = ["-m", "snakemake", "stage_a_summary", "-n", "--quiet", "all", "--cores", "4"]
    subprocess.run(
        [sys.executable, *words, "--configfile", str(config), "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )


def measure(repeats: int = 3, sizes: Mapping[int, tuple[int, int]] = SIZES) -> dict[str, Any]:
    """Return the seconds of dry runs by number of runs, and the largest process's memory."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for runs, (arms, seeds) in sizes.items():
            (folder / f"{runs}.yaml").write_text(yaml.safe_dump(study(arms, seeds)))
        programs = {str(runs): partial(dry_run, folder, folder / f"{runs}.yaml") for runs in sizes}
        taken = take_turns(programs, rounds=repeats, warmups=0)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": taken, "peak_memory_mib": peak}


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per number of runs, and the memory of the largest."""
    medians = {int(runs): statistics.median(taken) for runs, taken in result["seconds"].items()}
    least = min(medians)
    rows = []
    for runs, seconds in medians.items():
        more = 1000 * (seconds - medians[least]) / (runs - least) if runs > least else None
        per_run = "" if more is None else number(more)
        jobs, files = f"{2 * runs + 2:,}", f"{FILES_PER_RUN * runs:,}"
        rows.append([f"{runs:,}", jobs, files, number(seconds), per_run])
    header = ["runs", "jobs", "files of runs", "dry run, s", "ms a run beyond the smallest"]
    memory = f"Peak memory of the largest: {number(result['peak_memory_mib'])} MiB."
    return f"{table(header, rows)}\n\n{memory}"


if __name__ == "__main__":
    command("dag", measure, tables)
