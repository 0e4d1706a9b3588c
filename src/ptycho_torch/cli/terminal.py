"""What commands print while they work: one plain line each, on the error stream."""

import contextlib
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def messages() -> Iterator[None]:
    """Show what the package logs, and warnings that other libraries log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours, root = logging.getLogger("ptycho_torch"), logging.getLogger()
    level = ours.level
    ours.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(level)
