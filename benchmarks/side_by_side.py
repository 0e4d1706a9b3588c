"""What every benchmark shares: programs that take turns, medians and ratios, the machine, the JSON.

Programs of one comparison run in alternating order within one process, so that other work on the
machine hits all of them; what is quoted is a ratio, the median over rounds of one program's time
over the other's in the same round, with the least and the largest beside it.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path("results/bench")
"""Where benchmarks write."""

Times = dict[str, list[float]]
"""Program -> seconds of each round."""


def take_turns(programs: Mapping[str, Callable[[], object]], *, rounds: int, warmups: int) -> Times:
    """Return each program's wall seconds of each round; every second round runs backwards."""
    for _ in range(warmups):
        for program in programs.values():
            program()
    times: Times = {name: [] for name in programs}
    for i in range(rounds):
        for name in list(programs)[:: 1 if i % 2 == 0 else -1]:
            began = time.perf_counter()
            programs[name]()
            times[name].append(time.perf_counter() - began)
    return times


def summary(times: Times) -> dict[str, dict[str, float]]:
    """Return median, least and largest seconds of each program."""
    return {
        name: {"median_s": statistics.median(t), "min_s": min(t), "max_s": max(t)}
        for name, t in times.items()
    }


def ratio(times: Times, over: str, under: str) -> dict[str, float]:
    """Return the time of `over` in units of `under`'s, by rounds: median, least, largest."""
    values = [a / b for a, b in zip(times[over], times[under], strict=True)]
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def machine() -> dict[str, Any]:
    """Return what a number depends on: processor, cores, versions, load at the start."""
    names = ("torch", "numpy", "scipy", "scikit-image", "snakemake")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
        "load_average": os.getloadavg()[0],
        "gpu": _gpu(),
    }


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write a benchmark's JSON, the machine beside the numbers; say where."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    print(f"wrote {path}")
    return path


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _gpu() -> str | None:
    """Return the first GPU's name as the driver says it; None without one."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.splitlines()[0].strip() if found.stdout.strip() else None
