"""One job at a time on a run's files: a lock of the kernel's, which ends with the process."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ptycho_torch.runtime.disk import write_error

logger = logging.getLogger(__name__)

LOCK = ".training.lock"


@contextlib.contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder, made if missing; wait for another job that holds it.

    The lock file goes with the block, and so does a folder that it leaves empty.

    Raises `InputError` if the folder may not be written.
    """
    path = Path(folder) / LOCK
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("%s: another job is at work on this run; waiting for its end", folder)
            lock.acquire()
    except OSError as error:
        raise write_error(path, error) from None
    try:
        yield
    finally:
        # While it is held: whoever waits finds that the file is no longer in place.
        path.unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            path.parent.rmdir()
