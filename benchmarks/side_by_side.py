"""What every benchmark shares: programs that take turns, medians and ratios, the machine, the JSON.

A benchmark is a module with `measure(...) -> dict` (plain data, sizes as arguments so that a test
can ask for tiny ones) and `tables(result) -> str` (Markdown, from the JSON alone); `goals(result)`
says what was asked and what was reached. Its last line is `command(NAME, measure, tables)`.

Programs of one comparison run in alternating order within one process, so that other work on the
machine hits all of them; what is quoted is a ratio, the median over rounds of one program's time
over the other's in the same round, with the least and the largest beside it.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.provenance import commit

FOLDER = Path(os.environ.get("OUT", "results/bench"))
"""Where benchmarks write; a machine that is lent brings back what lies in $OUT."""

Times = dict[str, list[float]]
"""Program -> seconds of each round."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a benchmark was asked to reach, and what it reached, in words."""

    what: str
    asked: str
    reached: str
    met: bool


def take_turns(programs: Mapping[str, Callable[[], object]], *, rounds: int, warmups: int) -> Times:
    """Return each program's wall seconds of each round; every second round runs backwards."""
    for _ in range(warmups):
        for program in programs.values():
            program()
    taken: Times = {name: [] for name in programs}
    for i in range(rounds):
        for name in list(programs)[:: 1 if i % 2 == 0 else -1]:
            began = time.perf_counter()
            programs[name]()
            taken[name].append(time.perf_counter() - began)
    return taken


def summary(taken: Times) -> dict[str, dict[str, float]]:
    """Return median, least and largest seconds of each program."""
    return {
        name: {"median_s": statistics.median(t), "min_s": min(t), "max_s": max(t)}
        for name, t in taken.items()
    }


def ratio(taken: Times, over: str, under: str) -> dict[str, float]:
    """Return the time of `over` in units of `under`'s, by rounds: median, least, largest."""
    values = [a / b for a, b in zip(taken[over], taken[under], strict=True)]
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def machine() -> dict[str, Any]:
    """Return what a number depends on: commit, processor, cores, versions, load as it is now."""
    names = ("torch", "lightning", "numpy", "scipy", "scikit-image", "matplotlib", "snakemake")
    return {
        "commit": commit(Path(__file__)),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
        "load_average": os.getloadavg()[0],
        "gpu": _gpu(),
    }


def torch_threads() -> int | None:
    """Return the threads that torch uses in this process; None where nothing has imported it."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write a benchmark's JSON, the machine beside the numbers; say where."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    facts = result if "machine" in result else {"machine": machine(), **result}
    path.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"wrote {path}", file=sys.stderr)
    return path


def command(
    name: str,
    measure: Callable[..., Mapping[str, Any]],
    tables: Callable[[Mapping[str, Any]], str],
    **arguments: Any,
) -> Mapping[str, Any]:
    """Measure, write the JSON, print its tables: what a benchmark does when it is run."""
    before = machine()
    result = measure(**arguments)
    path = write(name, {"machine": {**before, "torch_threads": torch_threads()}, **result})
    print(tables(json.loads(path.read_text(encoding="utf-8"))))
    return result


def seconds(program: Mapping[str, float]) -> str:
    """Return a program of `summary` in words: its median, and the least and largest in brackets."""
    low, high = program["min_s"], program["max_s"]
    if program["median_s"] < 1:
        low, high = 1000 * low, 1000 * high
        return f"{number(1000 * program['median_s'])} ms ({number(low)} to {number(high)})"
    return f"{number(program['median_s'])} s ({number(low)} to {number(high)})"


def times(value: Mapping[str, float]) -> str:
    """Return a `ratio` in words: its median, and the least and largest in brackets."""
    return f"{number(value['median'])} ({number(value['min'])} to {number(value['max'])})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; pipes and line breaks in cells are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(text.replace("|", "\\|").split()) for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


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
