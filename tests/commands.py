"""The package's commands, called in this process as a user calls them; snakemake; and the tiny study,
run once in bad surroundings: no network, no home, no locale, an odd path, names nobody may publish."""

import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from filelock import FileLock
from tests.contract.record import ROOT, record_results, snakemake

from ptycho_torch import cli


def run(*words):
    """Return a command's exit status, and what it wrote to both streams."""
    out, err = StringIO(), StringIO()
    command = patch.object(sys, "argv", ["ptycho-torch", *map(str, words)])
    with command, redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, out.getvalue(), err.getvalue()


def call(*words):
    """Run what must succeed; return what it wrote to standard output."""
    status, out, err = run(*words)
    assert status == 0, err
    return out


def refused(*words):
    """Run what must be refused, in one line at the end; return that line."""
    status, _, err = run(*words)
    line = err[err.index("ptycho-torch: ") :].strip()
    assert status == 1 and "\n" not in line and "Traceback" not in err, err
    return line


CONFIG = ROOT / "tests" / "tiny.yaml"
SURROUNDINGS = {
    **{"USER": "some-user-x81", "LOGNAME": "some-user-x81", "HOSTNAME": "some-host-x81"},
    **{"HOME": "/nonexistent", "LC_ALL": "C"},
    "PYTHONPATH": f"{ROOT / 'tests/no_network'}:{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}",
}


def tiny_snakemake(folder, *words, config=CONFIG, status=0):
    """Run snakemake on a study in a folder; requests to the network go into network.log."""
    words += ("--configfile", config, "--cores", "4", "--resources", "gpu=1")
    surroundings = SURROUNDINGS | {"NETWORK_LOG": str(folder / "network.log")}
    return snakemake(folder, *words, status=status, **surroundings)


def run_tiny_study(shared):
    """Run the study and its parity in a folder of test processes, of which one does it.

    Returns its folder; `messages`, what snakemake printed of either target; and `record`, what
    tests/contract/record.py found in the results before any test touched them.
    """
    folder, done = shared / "kleinste Prüfung β (2)", shared / "tiny.json"
    with FileLock(shared / "tiny.lock"):
        if not done.exists():
            folder.mkdir()
            messages = {target: tiny_snakemake(folder, target) for target in ("all", "parity")}
            found = {"messages": messages, "record": record_results(folder / "results")}
            done.write_text(json.dumps(found))
    return SimpleNamespace(folder=folder, **json.loads(done.read_text()))
