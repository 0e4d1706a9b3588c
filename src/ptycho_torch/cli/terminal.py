"""What commands say while they work: one plain line each, on the error stream."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator

from ptycho_torch.jobs import take_over_logging


@contextlib.contextmanager
def said() -> Iterator[None]:
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


def quiet_training() -> None:
    """Keep the greetings of the training library to itself; its warnings are still shown."""
    names = ("lightning", "lightning.pytorch", "lightning.fabric")
    take_over_logging(*names)
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Advice for clusters; a single process is what is meant here.
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
