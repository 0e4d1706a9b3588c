"""A run in bad surroundings: no network, no home, an odd path, no locale. The same bytes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

RUN = "results/train/tiny/control/seed-0"


def test_a_run_in_bad_surroundings_is_the_same_run(root, tmp_path, tiny_run):
    checkout, results = tmp_path / "Prüfling β (2)", tmp_path / "Ergebnisse für α"
    requested = tmp_path / "network.log"
    for name in ("src", "workflow", "profiles", "config"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(root / name, checkout / name, ignore=unwanted)
    shutil.copy(root / "Snakefile", checkout)
    shutil.copy(root / "tests/tiny.yaml", checkout / "kleinste Studie.yaml")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME")},
        **{"HOME": "/nonexistent", "LC_ALL": "C", "NETWORK_LOG": str(requested)},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{root / 'tests/no_network'}:{checkout / 'src'}",
    }

    def run(*words):
        return subprocess.run(
            words, cwd=checkout, env=environment, capture_output=True, text=True,
            encoding="utf-8", timeout=300, check=False,
        )  # fmt: skip

    done = run(
        "snakemake", f"{RUN}/run.json", "--configfile", "kleinste Studie.yaml",
        "--directory", str(results), "--cores", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not requested.exists(), requested.read_text()
    for name in ("run.json", "history.csv", "bundle/weights.safetensors", "last.safetensors"):
        made, expected = results / RUN / name, tiny_run.folder / RUN / name
        assert made.read_bytes() == expected.read_bytes(), name
    # Or the above would prove nothing: the guard sees what turns to the network.
    ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:9', timeout=1)"
    assert run(sys.executable, "-c", ask).returncode != 0
    assert "127.0.0.1" in requested.read_text()
