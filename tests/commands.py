"""The command line, called in this process as a user calls it."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch

import pytest

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
