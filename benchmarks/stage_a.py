"""How much of `make stage-a` is training, and where the rest goes: `make bench ONLY=stage_a`.

The small study's Stage A from nothing in a scratch folder, by the command of the README, which
takes minutes; so it is run where it is asked for by name. Training is what `timing.json` of every
run says: the loop, without start-up and files. What a rule's jobs took is what Snakemake noted
of each, from its start to its end. Jobs run side by side: shares are of what all took together.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from side_by_side import Goal, command, table

from ptycho_torch.runtime.markdown import number, percent

ROOT = Path(__file__).resolve().parents[1]
TARGET = "stage_a_summary"


def run_stage(folder: Path, config: Path, cores: int) -> tuple[float, float]:
    """Run Stage A from nothing; return its wall and CPU seconds."""
    words = ["--directory", str(folder), "--configfile", str(config), "--cores", str(cores)]
    profile = ["--workflow-profile", str(ROOT / "profiles" / "default"), "--resources", "gpu=1"]
    before, began = _cpu_s(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "snakemake", TARGET, *words, *profile],
        cwd=ROOT,
        check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began, _cpu_s() - before


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def training_s(folder: Path) -> list[float]:
    """Return the wall seconds of every run's training loop."""
    paths = sorted((folder / "results" / "train").rglob("timing.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["wall_s"] for path in paths]


def job_s(folder: Path) -> dict[str, list[float]]:
    """Return the wall seconds of every rule's jobs, as Snakemake noted them beside the results."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for path in (folder / ".snakemake" / "metadata").rglob("*"):
        if path.is_file():
            note = json.loads(path.read_text(encoding="utf-8"))
            # One note a file, each with a start of its own; a job is told by its log.
            jobs, job = found.setdefault(note["rule"], {}), str(note["log"])
            start, end = jobs.get(job, (note["starttime"], note["endtime"]))
            jobs[job] = min(start, note["starttime"]), max(end, note["endtime"])
    return {
        rule: sorted(end - start for start, end in jobs.values())
        for rule, jobs in sorted(found.items())
    }


def measure(config: Path = ROOT / "config" / "config.yaml", cores: int = 4) -> dict[str, Any]:
    """Return what the command took, what training took of it, and every rule's jobs."""
    with tempfile.TemporaryDirectory() as scratch:
        wall, cpu = run_stage(Path(scratch), config, cores)
        return {
            "study": config.name,
            "cores_asked": cores,
            "wall_s": wall,
            "cpu_s": cpu,
            "training_s": training_s(Path(scratch)),
            "jobs_s": job_s(Path(scratch)),
        }


def _together_s(result: Mapping[str, Any]) -> float:
    return float(sum(sum(jobs) for jobs in result["jobs_s"].values()))


def tables(result: Mapping[str, Any]) -> str:
    """Return training's share, and a row per rule."""
    jobs_s, training = _together_s(result), sum(result["training_s"])
    whole = (
        f"`{TARGET}` of config/{result['study']} from nothing, `--cores {result['cores_asked']}`: "
        f"{number(result['wall_s'])} s of wall time and {number(result['cpu_s'])} s of CPU time; "
        f"{len(result['training_s'])} training loops took {number(training)} s, "
        f"{percent(training / jobs_s)} of what all jobs took together."
    )
    rows = []
    for rule, jobs in sorted(result["jobs_s"].items(), key=lambda item: -sum(item[1])):
        rows.append([rule, str(len(jobs)), number(sum(jobs)), percent(sum(jobs) / jobs_s)])
    header = ["rule", "jobs", "their wall time together, s", "of all jobs'"]
    return f"{whole}\n\n{table(header, rows)}"


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return training's share of Stage A."""
    share = sum(result["training_s"]) / _together_s(result)
    return [Goal("training's share of `make stage-a`", "70 %", percent(share), share >= 0.7)]


if __name__ == "__main__":
    command("stage_a", measure, tables)
