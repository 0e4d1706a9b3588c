"""Kill a small study at random moments, resume it each time, and compare what it leaves with an
undisturbed run's: files, keys, arrays and numbers to the last digit (tests/contract/record.py).

    python tests/campaigns/interruptions.py --kills 20 --seed 0      # or: make faults
"""

import argparse
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
KILLS = {
    "SIGKILL, all processes": (signal.SIGKILL, True),
    "SIGTERM, all processes": (signal.SIGTERM, True),
    "SIGINT, all processes": (signal.SIGINT, True),
    "SIGKILL, snakemake alone": (signal.SIGKILL, False),
}


def start(folder: Path, *words: str) -> subprocess.Popen:
    """Start the study in a process group of its own, with this checkout's code."""
    log = (folder / "calls.log").open("ab")
    paths = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [BIN / "snakemake", "stage_a_summary", "--configfile", folder.parent / "study.yaml",
         "--directory", folder, "--cores", "2", "--resources", "gpu=1", *words],
        cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        env=os.environ | paths,
    )  # fmt: skip


def kill(call: subprocess.Popen, name: str, limit_s: float = 120) -> None:
    """Kill a call of snakemake, and wait until its jobs have ended too."""
    number, everyone = KILLS[name]
    os.killpg(call.pid, number) if everyone else call.send_signal(number)
    call.wait()
    end = time.monotonic() + limit_s
    try:
        while time.monotonic() < end:
            os.killpg(call.pid, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        return
    raise TimeoutError(f"process group {call.pid} lives after {limit_s} s")


def run(folder: Path, waits: list[float], chance: random.Random) -> tuple[dict[str, Any], int]:
    """Run the study with a kill after each wait (seconds) that it needs; return the record of its
    results, and how often it was killed."""
    folder.mkdir()
    kills = 0
    for wait_s in waits:
        call = start(folder)
        try:
            call.wait(wait_s)
            break  # It had ended before.
        except subprocess.TimeoutExpired:
            name = chance.choice(list(KILLS))
            kill(call, name)
            kills += 1
            print(f"after {wait_s:.1f} s: {name}", flush=True)
        # A call that was killed outright leaves its lock.
        assert start(folder, "--unlock").wait() == 0
    assert start(folder).wait() == 0, (folder / "calls.log").read_text()
    logs = "".join(path.read_text() for path in (folder / "logs").rglob("*.log"))
    print("  last logs: resumed after epochs", re.findall(r"resumed after epoch (\d+)", logs))
    record = runpy.run_path(str(ROOT / "tests/contract/record.py"))["record_results"]
    return record(folder / "results"), kills


def campaign(kills: int, seed: int, epochs: int, folder: Path) -> bool:
    """Return whether every study that was killed left what the undisturbed one did."""
    study = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    study["training"] |= {"epochs": epochs}
    study["training"]["schedule"] = {"name": "warmup_cosine", "warmup_epochs": 2}
    study["stage_a"]["seeds"] = 2
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    chance, began = random.Random(seed), time.monotonic()
    (calm, done), same = run(folder / "undisturbed", [], chance), True
    whole_s = time.monotonic() - began
    while done < kills:
        waits = [chance.uniform(2, 0.6 * whole_s) for _ in range(min(4, kills - done))]
        found, killed = run(folder / f"disturbed-{done}", waits, chance)
        done += killed
        differ = [name for name, section in calm.items() if found[name] != section]
        print(f"{done} kills: {len(found['files'])} files, other {differ or 'in nothing'}")
        same &= not differ
    return same


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"kills": 20, "seed": 0, "epochs": 40}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if campaign(**vars(parser.parse_args()), folder=Path(folder)) else 1)


if __name__ == "__main__":
    main()
