"""The tiny study as a user runs it, once for all tests, in bad surroundings: no network, no home, no
locale, an odd path, and names of user and machine that nothing may publish."""

import json
import os
from types import SimpleNamespace

from filelock import FileLock
from tests.commands import ROOT, snakemake
from tests.contract.record import record_results

CONFIG = ROOT / "tests" / "tiny.yaml"
SURROUNDINGS = {
    **{"USER": "some-user-x81", "LOGNAME": "some-user-x81", "HOSTNAME": "some-host-x81"},
    **{"HOME": "/nonexistent", "LC_ALL": "C"},
    "PYTHONPATH": f"{ROOT / 'tests/no_network'}:{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}",
}


def call(folder, *words, config=CONFIG, status=0):
    """Run snakemake on a study in a folder; requests to the network go into network.log."""
    words += ("--configfile", config, "--cores", "4", "--resources", "gpu=1")
    surroundings = SURROUNDINGS | {"NETWORK_LOG": str(folder / "network.log")}
    return snakemake(folder, *words, status=status, **surroundings)


def run_once(shared):
    """Run the study and its parity in a folder of test processes, of which one does it.

    Returns its folder; `messages`, what snakemake printed of either target; and `record`, what
    tests/contract/record.py found in the results before any test touched them.
    """
    folder, done = shared / "kleinste Prüfung β (2)", shared / "tiny.json"
    with FileLock(shared / "tiny.lock"):
        if not done.exists():
            folder.mkdir()
            messages = {target: call(folder, target) for target in ("all", "parity")}
            found = {"messages": messages, "record": record_results(folder / "results")}
            done.write_text(json.dumps(found))
    return SimpleNamespace(folder=folder, **json.loads(done.read_text()))
