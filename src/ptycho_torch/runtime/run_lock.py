"""One job at a time on a run's files: locks of the kernel's, which end with the process."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

LOCK = ".training.lock"


@contextlib.contextmanager
def run_lock(folders: Iterable[str | Path]) -> Iterator[None]:
    """Hold the locks of some folders, made if missing; wait for another job that holds one.

    The lock files go with the block, and so do folders that it leaves empty. Where a file system
    has no locks, that is said and the block runs.

    Raises
    ------
    InputError
        If a folder may not be written.
    """
    with contextlib.ExitStack() as held:
        # In one order everywhere, so that no two jobs wait for each other.
        for folder in sorted(set(map(Path, folders))):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(_locked(folder / LOCK))
            except OSError as error:
                raise InputError(
                    f"{folder}: cannot be written: {error.strerror}; make room or make it "
                    "writable, or choose another folder"
                ) from None
        yield


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = _take(path)
    try:
        yield
    finally:
        if handle is not None:
            # First gone, then free: who waited finds that its file is no more the one in place.
            path.unlink(missing_ok=True)
            os.close(handle)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _take(path: Path) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _wait(handle, path)
        except OSError as error:
            os.close(handle)
            path.unlink(missing_ok=True)
            logger.warning("%s: this file system has no locks (%s)", path.parent, error.strerror)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)


def _wait(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("%s: another job is at work on this run; waiting for its end", path.parent)
        fcntl.flock(handle, fcntl.LOCK_EX)
