"""The part of `io_hdf5` for files that the HDF5 library itself does not come back from.

A damaged index or heap can send the library round in a circle, in C, where nothing can stop it,
or crash it; another such circle takes memory at each turn, and a text gets room for whatever
length a file claims. So a child process goes through a file first, and names, links and texts are
read with little room.
"""

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.regular_file import PathLike

SECONDS = 5.0
"""CPU time that a child has for going through a file's names, texts and places of data."""
PATIENCE_S = 120.0
"""Time on the clock that it has, for disks that are slow and locks that a fork left held."""
_ROOM = 2**27
"""Bytes that memory may grow by while texts are read."""
_MOST_OBJECTS = 2000


def probe_hdf5(path: PathLike) -> None:
    """Go through an HDF5 file in a child process; on other systems than Linux do nothing.

    What the library refuses is left to who reads the file, who can say what it was.

    Raises
    ------
    InputError
        If the library crashes on it, or does not come back from it.
    """
    if sys.platform != "linux":
        return
    import h5py  # Slow to import, and not to be done in the child.

    with warnings.catch_warnings():
        # Threads of torch are not there in the child, and nothing in it asks for them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _in_child(lambda: _go_through(h5py, path))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise InputError(f"{path}: {_why(os.WTERMSIG(status))}")


def _why(number: int) -> str:
    if number == signal.SIGALRM:
        return f"could not be gone through in {PATIENCE_S:g} s; copy it to a faster disk"
    what = "finds no end in it" if number == signal.SIGPROF else f"is ended by signal {number}"
    return f"is damaged so that the HDF5 library {what}; copy or make it again"


def _in_child(work: Callable[[], None]) -> None:
    """Do the work within bounds of time and memory, and end the process."""
    try:
        faulthandler.disable()
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with little_room():
            work()
    finally:
        os._exit(0)


def _go_through(h5py: Any, path: PathLike) -> None:
    """Touch every name, link, text, attribute and index of chunks; errors are no matter here."""
    with h5py.File(path, "r") as file:
        groups, seen = [file], 0
        while groups and seen < _MOST_OBJECTS:
            group = groups.pop()
            with contextlib.suppress(Exception):
                for name in group:
                    seen += 1
                    with contextlib.suppress(Exception):
                        if isinstance(group.get(name, getlink=True), h5py.HardLink):
                            found = group[name]
                            groups += [found] if isinstance(found, h5py.Group) else []
                            _touch(h5py, found)
                    if seen >= _MOST_OBJECTS:
                        break


def _touch(h5py: Any, found: Any) -> None:
    for name in found.attrs:
        with contextlib.suppress(Exception):
            _ = found.attrs[name]
    if isinstance(found, h5py.Dataset) and not found.external and not found.is_virtual:
        if found.chunks:
            found.id.chunk_iter(lambda _: None)
        elif found.nbytes < _ROOM // 16:
            _ = found[()]


@contextlib.contextmanager
def little_room() -> Iterator[None]:
    """Let memory grow by little within the block: what claims more is refused by the system."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # Not on Linux, where the library's own bound of 4 GiB is left.
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    room = pages * resource.getpagesize() + _ROOM
    if soft == resource.RLIM_INFINITY or room < soft:
        resource.setrlimit(resource.RLIMIT_AS, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
