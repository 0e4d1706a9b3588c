"""Kill a small study at random moments, go on each time, and compare every result with an
undisturbed run's. `make faults` runs twenty kills; what is left out of the comparison is in `TIMED`.

    python tests/campaigns/interruptions.py --kills 20 --seed 0
"""

import argparse
import csv
import io
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
TIMED = ("timing.json", "summary.md", "time_to_quality.png", "time_to_quality.svg")
TIMED_KEYS = {
    *("wall_s", "seconds", "inference_s", "samples_per_s", "peak_memory_mib", "attempts"),
    # Checksums of what holds such numbers.
    *("checksum", "runs.csv", "arms.csv", "run.json"),
}


def study(epochs: int) -> dict:
    """The smallest study with longer runs."""
    settings = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    settings["training"]["epochs"] = epochs
    settings["training"]["schedule"] = {"name": "warmup_cosine", "warmup_epochs": 2}
    settings["stage_a"]["seeds"] = 2
    return settings


def start(folder: Path, config: Path, cores: int, *words: str) -> subprocess.Popen:
    """Start the study in a process group of its own."""
    log = (folder / "calls.log").open("ab")
    return subprocess.Popen(
        [str(BIN / "snakemake"), "stage_a_summary", "--configfile", str(config),
         "--directory", str(folder), "--cores", str(cores), "--resources", "gpu=1", *words],
        cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            # This checkout's code, wherever the environment's is.
            "PYTHONPATH": str(ROOT / "src"),
        },
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


def strip(value):
    """Return JSON without what is timed."""
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if k not in TIMED_KEYS}
    return [strip(v) for v in value] if isinstance(value, list) else value


def contents(path: Path):
    """Return a file's bytes; of tables and JSON that hold times, all but those."""
    data = path.read_bytes()
    if path.suffix == ".json" and any(f'"{key}"'.encode() in data for key in TIMED_KEYS):
        return json.dumps(strip(json.loads(data)))
    if path.name in ("runs.csv", "arms.csv"):
        rows = csv.DictReader(io.StringIO(data.decode()))
        return [{k: v for k, v in row.items() if k not in TIMED_KEYS} for row in rows]
    return data


def results(folder: Path) -> dict[str, Path]:
    """Every file under results/, by its place; also what should not be there."""
    found = sorted(p for p in (folder / "results").rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p for p in found}


def differences(one: Path, other: Path) -> tuple[int, list[str]]:
    """Return how many files were compared, and in which the folders differ."""
    mine, theirs = results(one), results(other)
    odd = sorted(mine.keys() ^ theirs.keys())
    same = [name for name in sorted(mine.keys() & theirs.keys()) if Path(name).name not in TIMED]
    return len(same), odd + [n for n in same if contents(mine[n]) != contents(theirs[n])]


def campaign(kills: int, seed: int, *, epochs: int, cores: int, folder: Path) -> bool:
    """Run it; print a line for each kill and each comparison."""
    chance = random.Random(seed)
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(study(epochs)))
    calm = folder / "undisturbed"
    calm.mkdir(parents=True)
    began = time.monotonic()
    assert start(calm, config, cores).wait() == 0, (calm / "calls.log").read_text()
    whole_s = time.monotonic() - began
    print(f"undisturbed: {whole_s:.0f} s, {len(results(calm))} files", flush=True)
    ways, done, bad, studies = Counter(), 0, [], 0
    while done < kills or studies == 0:
        studies += 1
        disturbed = folder / f"disturbed-{studies}"
        disturbed.mkdir()
        while True:
            call = start(disturbed, config, cores)
            if done >= kills:
                assert call.wait() == 0, (disturbed / "calls.log").read_text()
                break
            try:
                assert call.wait(chance.uniform(2, 0.6 * whole_s)) == 0
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
            done, ways[name] = done + 1, ways[name] + 1
            print(f"kill {done}: {name}", flush=True)
        compared, odd = differences(calm, disturbed)
        bad += odd
        print(f"study {studies}: {compared} files compared, {len(odd)} differ {odd}", flush=True)
        logs = "".join(p.read_text() for p in (disturbed / "logs").rglob("*.log"))
        taken = re.findall(r"resumed after epoch (\d+)", logs)
        print(f"  last logs: resumed after epochs {taken}", flush=True)
        shutil.rmtree(disturbed)
    print(f"{done} kills ({dict(ways)}), {len(bad)} files differ", flush=True)
    return not bad


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--cores", type=int, default=2)
    found = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = campaign(
            found.kills, found.seed, epochs=found.epochs, cores=found.cores, folder=Path(folder)
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
