"""CPU seconds before a job begins its work: `make bench`.

Each rule script as Snakemake starts it: Python, Snakemake's own preamble, the script's imports. And
the smallest training job from start to end, nearly all of which is what precedes its first step.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from side_by_side import Goal, command, table

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.runtime.markdown import number

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S, TRAINING_LIMIT_S = 1.0, 5.0
PREAMBLE = "from snakemake import script; from snakemake.logging import logger"
BELOW = {
    "Python": "pass",
    "Python and Snakemake's preamble": PREAMBLE,
    "pandas": "import pandas",
    "torch": "import torch",
    "torch, and an optimiser of it": "import torch; torch.optim.Adam([torch.zeros(1)])",
}
"""What scripts cannot do without, each in a process of its own."""

TRAINING = """
import sys
from pathlib import Path
from ptycho_torch.config.study import run_settings
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.train.run import train_run
study = parse_study(load_yaml("tests/tiny.yaml"), "tiny.yaml")
data = Path(sys.argv[1])
train_run(run_settings(study, "tiny", "control", 0),
        splits={s: data / f"{s}.npz" for s in ("train", "validation", "test")},
        dataset=data / "dataset.json", folder=data / "run", threads=1)
"""


def cpu_seconds(program: str, *words: str) -> tuple[float, str]:
    """Return the CPU seconds of a Python program, its children's included, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def script_program(name: str) -> str:
    """Return a program that starts a script as Snakemake does, and stops before its work."""
    path = str(ROOT / "workflow" / "scripts" / name)
    return f"{PREAMBLE}; import runpy, sys; runpy.run_path({path!r}); print('torch' in sys.modules)"


def measure(repeats: int = 5, scripts: list[str] | None = None) -> dict[str, Any]:
    """Return the CPU seconds of each script's start, of what is below it, and of a training."""
    folder = ROOT / "workflow" / "scripts"
    names = scripts or sorted(path.name for path in folder.glob("*.py"))
    below = BELOW
    programs = {**below, **{name: script_program(name) for name in names}}
    taken: dict[str, list[float]] = {name: [] for name in (*programs, "training")}
    torch: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as scratch:
        _make_dataset(Path(scratch))
        for _ in range(repeats):
            for name, program in programs.items():
                spent, said = cpu_seconds(program)
                taken[name].append(spent)
                torch[name] = said.strip() == "True"
            taken["training"].append(cpu_seconds(TRAINING, scratch)[0])
    return {"scripts": names, "imports_torch": torch, "cpu_seconds": taken}


def _make_dataset(folder: Path) -> None:
    """Simulate the smallest study's dataset."""
    from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset

    study = parse_study(load_yaml(ROOT / "tests" / "tiny.yaml"), "tiny.yaml")
    splits = {split: folder / f"{split}.npz" for split in SPLITS}
    simulate_dataset(  # type: ignore[arg-type]
        study.datasets["tiny"], name="tiny", splits=splits, summary=folder / "dataset.json"
    )


def medians(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the median CPU seconds of each program."""
    return {name: statistics.median(spent) for name, spent in result["cpu_seconds"].items()}


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per script, those without torch first."""
    found, torch = medians(result), result["imports_torch"]
    rows = [
        [f"`{name}`", "yes" if torch[name] else "no", number(found[name], 2)]
        for name in sorted(result["scripts"], key=lambda name: (torch[name], found[name]))
    ]
    rest = [[name, "", number(found[name], 2)] for name in found if name not in result["scripts"]]
    rest[-1][0] = "smallest training job, from start to end"
    header = ["program", "imports torch at its start", "CPU seconds"]
    return table(header, rows + rest)


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goals for scripts without torch and for training."""
    found = medians(result)
    light = [name for name in result["scripts"] if not result["imports_torch"][name]]
    worst = max(light, key=lambda name: found[name])
    trained = found["training"]
    return [
        Goal(
            "start of a rule script that needs no torch, CPU",
            f"under {number(LIMIT_S, 1)} s",
            f"at most {number(found[worst], 2)} s (`{worst}`)",
            found[worst] < LIMIT_S,
        ),
        Goal(
            "start of a training job, CPU",
            f"under {number(TRAINING_LIMIT_S, 1)} s",
            f"{number(trained, 2)} s, its whole (tiny) training included",
            trained < TRAINING_LIMIT_S,
        ),
    ]


if __name__ == "__main__":
    command("startup", measure, tables)
