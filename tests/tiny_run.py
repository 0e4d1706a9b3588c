"""The tiny study as a user runs it, once for all tests, and under names that nothing may publish."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
USER, HOST = "some-user-x81", "some-host-x81"
"""Who runs the study, where."""
NAMED = f"""
import os, platform, socket
os.environ |= dict(USER="{USER}", LOGNAME="{USER}", HOSTNAME="{HOST}")
socket.gethostname = socket.getfqdn = platform.node = lambda *_: "{HOST}"
real = os.uname
os.uname = lambda: os.uname_result((real()[0], "{HOST}", *real()[2:]))
"""


def call(
    folder: Path, *words: str, config: Path = ROOT / "tests" / "tiny.yaml"
) -> subprocess.CompletedProcess[str]:
    """Run snakemake on a study in a folder, without a network; requests go into network.log."""
    # Python reads this file at the start of every process of the study.
    (folder / "named").mkdir(exist_ok=True)
    guard = ROOT / "tests" / "no_network" / "sitecustomize.py"
    (folder / "named" / "sitecustomize.py").write_text(NAMED + guard.read_text())
    paths = [str(folder / "named"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [BIN / "snakemake", *words, "--configfile", config, "--directory", folder,
         "--cores", "4", "--resources", "gpu=1"],
        cwd=ROOT, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}",
                       "NETWORK_LOG": str(folder / "network.log"),
                       "PYTHONPATH": ":".join(filter(None, paths))},
        capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip


def run_once(shared: Path, contract: ModuleType) -> SimpleNamespace:
    """Run the study and its parity in a folder of test processes, of which one does it.

    Returns its folder; `messages`, what snakemake printed of either target; and `record`, what
    tests/contract/record.py found in the results before any test touched them.
    """
    folder, done = shared / "tiny", shared / "tiny.json"
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
    return SimpleNamespace(
        folder=folder, call=call, USER=USER, HOST=HOST, **json.loads(done.read_text())
    )
