"""The package's commands, called in this process as a user calls them, and snakemake."""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from ptycho_torch import cli

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


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


def snakemake(folder, *words, status=0, **environment):
    """Run this checkout's snakemake with results in a folder; it must end with this status. Return
    what it printed."""
    done = subprocess.run(
        [BIN / "snakemake", *words, "--directory", folder], cwd=ROOT, check=False,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=1800,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout
