"""How long Snakemake takes to plan a study, against its number of runs: `make bench-dag`.

Dry runs of Stage A on a copy of the smallest study with more arms and seeds, alternating in
order, three times each; median wall time, peak memory of the process, jobs and files.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SIZES = {10: (2, 5), 100: (4, 25), 1000: (4, 250), 5000: (5, 1000)}
"""Runs -> (arms, seeds)."""

FILES_PER_RUN = 8
"""Six of training, two of evaluation (docs/files.md); logs not counted."""


def study(arms: int, seeds: int) -> dict:
    """Return the smallest study with so many arms and seeds."""
    data = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text(encoding="utf-8"))
    for block in ("sweeps", "stage_b", "pivot", "decision"):
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


def dry_run(folder: Path, config: Path) -> float:
    """Return the seconds that a dry run takes."""
    words = ["-m", "snakemake", "stage_a_summary", "-n", "--quiet", "all", "--cores", "4"]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *words, "--configfile", str(config), "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a table; write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times: dict[int, list[float]] = {runs: [] for runs in SIZES}
    with tempfile.TemporaryDirectory() as scratch:
        for runs, (arms, seeds) in SIZES.items():
            (Path(scratch) / f"{runs}.yaml").write_text(yaml.safe_dump(study(arms, seeds)))
        for repeat in range(options.repeats):
            for runs in sorted(SIZES, reverse=bool(repeat % 2)):
                times[runs].append(dry_run(Path(scratch), Path(scratch) / f"{runs}.yaml"))
                print(f"{runs} runs: {times[runs][-1]:.2f} s", file=sys.stderr, flush=True)
    medians = {runs: statistics.median(found) for runs, found in times.items()}
    base = medians[min(medians)]
    print("| runs | jobs | files of runs | dry run, s | ms a run beyond the smallest |")
    print("|---|---|---|---|---|")
    for runs, seconds in medians.items():
        more = 1000 * (seconds - base) / (runs - 10) if runs > 10 else float("nan")
        per_run = f"{more:.2f}" if runs > 10 else ""
        print(f"| {runs} | {2 * runs + 2} | {FILES_PER_RUN * runs} | {seconds:.2f} | {per_run} |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\npeak memory of the largest: {peak:.0f} MiB")
    if options.json:
        facts = {
            "seconds": times,
            "peak_memory_mib": peak,
            "snakemake": version("snakemake"),
            "python": platform.python_version(),
            "platform": platform.platform(),
        }
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
