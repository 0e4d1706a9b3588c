"""Run benchmarks one after another: `make bench`, or some of them: `make bench ONLY=dag`.

Each runs in a process of its own, so that none leaves threads, caches or memory to the next, and
writes results/bench/<name>.json. `make bench-report` puts the results into docs/performance.md.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("training_step", "overhead", "stage_a", "startup", "threads", "dag", "gpu", "rpie")
"""In the order of docs/performance.md; `decision_rates.py` takes half an hour and stands alone."""

BY_NAME = ("stage_a", "gpu")
"""Run where they are asked for by name: they take minutes, and a GPU."""

OTHERS = HERE.parent / ".venv-baseline" / "bin" / "python"
"""Where another group's programs are installed, which rpie compares with."""


def find(names: list[str]) -> list[str]:
    """Return the benchmarks that were asked for; if none was, all but those that run `BY_NAME`.

    `SystemExit` at a wrong name.
    """
    for name in names:
        if name not in NAMES:
            sys.exit(f"bench: there is no benchmark '{name}'; there are: {', '.join(NAMES)}")
    return names or [name for name in NAMES if name not in BY_NAME]


def run(name: str, *, asked: bool) -> bool:
    """Run one benchmark in its own process and say whether it ended well."""
    program, environment, words = sys.executable, dict(os.environ), [str(HERE / f"{name}.py")]
    if name == "rpie":
        if not OTHERS.exists() and not asked:
            print("bench: rpie is left out; `make setup-baseline` installs what it compares with")
            return True
        program = str(OTHERS) if OTHERS.exists() else program
        environment["OMP_NUM_THREADS"] = "1"
        words = ["-W", "ignore", *words]  # The other group's programs warn at every pass.
    print(f"bench: {name}", flush=True)
    return subprocess.run([program, *words], env=environment, check=False).returncode == 0


def main() -> None:
    """Run them all, whichever fails; exit 1 if one did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    names = parser.parse_args().names
    if not names:
        print(f"bench: asked for by name only: {', '.join(BY_NAME)}", flush=True)
    failed = [name for name in find(names) if not run(name, asked=bool(names))]
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
