"""The tiny study as a user runs it, once for all tests, in bad surroundings: no network, no home, no
locale, an odd path, and names of user and machine that nothing may publish."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SURROUNDINGS = {
    **{"USER": "some-user-x81", "LOGNAME": "some-user-x81", "HOSTNAME": "some-host-x81"},
    **{"HOME": "/nonexistent", "LC_ALL": "C", "PATH": f"{BIN}:{os.environ['PATH']}"},
    "PYTHONPATH": f"{ROOT / 'tests/no_network'}:{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}",
}


def call(
    folder: Path, *words: str, config: Path = ROOT / "tests" / "tiny.yaml"
) -> subprocess.CompletedProcess[str]:
    """Run snakemake on a study in a folder; requests to the network go into network.log."""
    return subprocess.run(
        [BIN / "snakemake", *words, "--configfile", config, "--directory", folder,
         "--cores", "4", "--resources", "gpu=1"],
        cwd=ROOT, env={**os.environ, **SURROUNDINGS, "NETWORK_LOG": str(folder / "network.log")},
        capture_output=True, text=True, encoding="utf-8", timeout=1800, check=False,
    )  # fmt: skip


def run_once(shared: Path, contract: ModuleType) -> SimpleNamespace:
    """Run the study and its parity in a folder of test processes, of which one does it.

    Returns its folder; `messages`, what snakemake printed of either target; and `record`, what
    tests/contract/record.py found in the results before any test touched them.
    """
    folder, done = shared / "kleinste Prüfung β (2)", shared / "tiny.json"
    with FileLock(shared / "tiny.lock"):
        if not done.exists():
            folder.mkdir()
            messages = {}
            for target in ("all", "parity"):
                job = call(folder, target)
                messages[target] = job.stdout + job.stderr
                if job.returncode:
                    raise RuntimeError(f"snakemake {target}: {job.returncode}\n{messages[target]}")
            found = contract.record_results(folder / "results")
            done.write_text(json.dumps({"messages": messages, "record": found}))
    found = json.loads(done.read_text())
    return SimpleNamespace(folder=folder, call=call, SURROUNDINGS=SURROUNDINGS, **found)
