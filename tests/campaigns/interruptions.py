"""Kill a small study at random moments, go on each time, and compare every result with an
undisturbed run's. `make faults` runs twenty kills; what is left out of the comparison is in `TIMED`.

    python tests/campaigns/interruptions.py --kills 20 --seed 0
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
WAYS = {
    "SIGKILL, all processes": (signal.SIGKILL, True),
    "SIGTERM, all processes": (signal.SIGTERM, True),
    "SIGINT, all processes": (signal.SIGINT, True),
    "SIGKILL, snakemake alone": (signal.SIGKILL, False),
}

# Two undisturbed runs differ in these as well: they hold seconds, MiB and rates.
TIMED = ("timing.json", "summary.md")
TIMED_KEYS = {
    *("wall_s", "seconds", "inference_s", "samples_per_s", "peak_memory_mib", "attempts"),
    # Checksums of what holds such numbers.
    *("checksum", "runs.csv", "arms.csv", "run.json"),
}


def start(folder: Path, config: Path, cores: int, *words: str) -> subprocess.Popen:
    """Start the study in a process group of its own, with this checkout's code."""
    log = (folder / "calls.log").open("ab")
    paths = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [str(BIN / "snakemake"), "stage_a_summary", "--configfile", str(config),
         "--directory", str(folder), "--cores", str(cores), "--resources", "gpu=1", *words],
        cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        env=os.environ | paths,
    )  # fmt: skip


def end_all(group: int, limit_s: float = 120) -> None:
    """Wait until no process of a group is left."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise TimeoutError(f"process group {group} lives after {limit_s} s")


def contents(path: Path):
    """Return a file's bytes; of tables and JSON all but what is timed."""
    if path.suffix == ".json":
        return json.loads(path.read_text(), object_hook=untimed)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str).drop(columns=list(TIMED_KEYS), errors="ignore").to_csv()
    return path.read_bytes()


def untimed(block: dict) -> dict:
    return {key: value for key, value in block.items() if key not in TIMED_KEYS}


def results(folder: Path) -> set[str]:
    """Every file under results/, by its place; also what should not be there."""
    every = (folder / "results").rglob("*")
    return {path.relative_to(folder).as_posix() for path in every if path.is_file()}


def differences(one: Path, other: Path) -> tuple[int, list[str]]:
    """Return how many files were compared, and in which the folders differ."""
    mine, theirs = results(one), results(other)
    same = {name for name in mine & theirs if Path(name).name not in TIMED}
    differ = {name for name in same if contents(one / name) != contents(other / name)}
    return len(same), sorted((mine ^ theirs) | differ)


def campaign(kills: int, seed: int, *, epochs: int, cores: int, folder: Path) -> bool:
    """Run it; print a line for each kill and each comparison."""
    chance = random.Random(seed)
    config, calm = folder / "study.yaml", folder / "undisturbed"
    study = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    study["training"] |= {
        "epochs": epochs, "schedule": {"name": "warmup_cosine", "warmup_epochs": 2}
    }  # fmt: skip
    study["stage_a"]["seeds"] = 2
    config.write_text(yaml.safe_dump(study))
    calm.mkdir(parents=True)
    began = time.monotonic()
    assert start(calm, config, cores).wait() == 0, (calm / "calls.log").read_text()
    whole_s = time.monotonic() - began
    print(f"undisturbed: {whole_s:.0f} s, {len(results(calm))} files", flush=True)
    ways, bad, studies = Counter(), [], 0
    while ways.total() < kills or studies == 0:
        studies += 1
        disturbed = folder / f"disturbed-{studies}"
        disturbed.mkdir()
        while True:
            call = start(disturbed, config, cores)
            left = ways.total() < kills
            try:
                # The last call runs to its end.
                status = call.wait(chance.uniform(2, 0.6 * whole_s) if left else None)
                assert status == 0, (disturbed / "calls.log").read_text()
                break
            except subprocess.TimeoutExpired:
                pass
            name = chance.choice(list(WAYS))
            number, everyone = WAYS[name]
            os.killpg(call.pid, number) if everyone else call.send_signal(number)
            call.wait()
            # Also the jobs of a call that was killed alone, which go on to their end.
            end_all(call.pid)
            # A call that was killed outright leaves its lock.
            assert start(disturbed, config, cores, "--unlock").wait() == 0
            ways[name] += 1
            print(f"kill {ways.total()}: {name}", flush=True)
        compared, odd = differences(calm, disturbed)
        bad += odd
        print(f"study {studies}: {compared} files compared, {len(odd)} differ {odd}", flush=True)
        logs = "".join(p.read_text() for p in (disturbed / "logs").rglob("*.log"))
        taken = re.findall(r"resumed after epoch (\d+)", logs)
        print(f"  last logs: resumed after epochs {taken}", flush=True)
        shutil.rmtree(disturbed)
    print(f"{ways.total()} kills ({dict(ways)}), {len(bad)} files differ", flush=True)
    return not bad


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"kills": 20, "seed": 0, "epochs": 40, "cores": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if campaign(**options, folder=Path(folder)) else 1)


if __name__ == "__main__":
    main()
