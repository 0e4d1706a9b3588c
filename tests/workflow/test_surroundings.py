"""A study in bad surroundings: no network, no home, no room for temporary files, odd paths, a
checkout that cannot be written, a clock that jumps. The results are the same bytes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = "results/train/tiny/control/seed-0"
# In name spaces of its own where the system allows them: no network at all, not for what is
# written in C either, a checkout that is read only for root too, a full folder for temporary files.
CUT_OFF = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-e", "-c"]
CLOSE = """
mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"
mount -t tmpfs -o size=4k none "$2"; head -c 8192 /dev/zero > "$2/full" 2>/dev/null || true
shift 2; exec "$@"
"""


@pytest.fixture
def surroundings(tmp_path):
    """Return a copy of the checkout under an odd path, and what runs a command beside it."""
    checkout = tmp_path / "Prüfling β (2)"
    for name in ("src", "workflow", "profiles", "config"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, checkout / name, ignore=unwanted)
    shutil.copy(ROOT / "Snakefile", checkout)
    shutil.copy(ROOT / "tests/tiny.yaml", checkout / "kleinste Studie.yaml")
    (tmp_path / "tmp").mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME")},
        "HOME": "/nonexistent",
        "TMPDIR": str(tmp_path / "tmp"),
        "LC_ALL": "C",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NETWORK_LOG": str(tmp_path / "network.log"),
        "PYTHONPATH": f"{ROOT / 'tests/no_network'}:{checkout / 'src'}",
    }

    closed = [*CUT_OFF, CLOSE, "sh", str(checkout), str(tmp_path / "tmp")]
    if subprocess.run([*closed, "true"], capture_output=True, check=False).returncode:
        closed = []

    def run(*words):
        return subprocess.run(
            [*closed, *words], cwd=checkout, env=environment, capture_output=True, text=True,
            encoding="utf-8", timeout=300, check=False,
        )  # fmt: skip

    return checkout, run, bool(closed)


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_in_bad_surroundings_is_the_same_run(surroundings, tmp_path, tiny_run):
    checkout, run, closed = surroundings
    before, results = snapshot(checkout), tmp_path / "Ergebnisse für α"
    done = run(
        "snakemake", f"{RUN}/run.json", "--configfile", "kleinste Studie.yaml",
        "--directory", str(results), "--cores", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    requested = tmp_path / "network.log"
    assert not requested.exists(), requested.read_text()
    if closed:
        assert snapshot(checkout) == before
    for name in ("run.json", "history.csv", "bundle/weights.safetensors", "last.safetensors"):
        made, expected = results / RUN / name, tiny_run.folder / RUN / name
        assert made.read_bytes() == expected.read_bytes(), name
    # Or the above would prove nothing: the guard sees what turns to the network.
    ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:9', timeout=1)"
    assert run(sys.executable, "-c", ask).returncode != 0
    assert "127.0.0.1" in requested.read_text()
