"""The part of `io_hdf5` for texts of variable length, where the library trusts what a file claims.

Such texts lie in "global heaps": collections of objects behind a signature, each with its size. A
free object of size 0 makes the library walk on the spot for ever, and a text's length is made room
for before its place in the file is looked at. Neither can be told by the library itself.
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html (III.E. Global Heap)
"""

import contextlib
import mmap
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

from ptycho_torch.config.base import InputError
from ptycho_torch.io_open import PathLike, opened

_SIGNATURE = b"GCOL\x01"
_HEAD, _OBJECT = struct.Struct("<5s3xQ"), struct.Struct("<HHIQ")
_ROOM = 2**27
"""Bytes that memory may grow by while texts are read."""
_LENGTHS = {0: 14, 1: 14, 2: 10, 3: 10}
"""Version of the superblock -> where it says how many bytes a length has."""


def check_heaps(path: PathLike) -> None:
    """Raise `InputError` if a global heap of an HDF5 file has no end."""
    with opened(path) as stream:
        start = stream.read(16)
        if len(start) < 16 or start[:4] != b"\x89HDF":
            return
        if start[_LENGTHS.get(start[8], 14)] != 8:
            raise InputError(
                f"{path}: is HDF5 with lengths of other than 8 bytes; mend it by h5repack"
            )
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = data.find(_SIGNATURE)
            while place >= 0:
                if not _ends(data, place):
                    raise InputError(f"{path}: is damaged: its heap at {place} has no end")
                place = data.find(_SIGNATURE, place + 1)


def _ends(data: mmap.mmap, place: int) -> bool:
    """Return whether the library would come to the end of a collection, be it by an error."""
    if place + _HEAD.size > len(data):
        return True
    _, size = _HEAD.unpack_from(data, place)
    end, at = place + size, place + _HEAD.size
    if end > len(data):
        return True
    while at + _OBJECT.size <= end:
        index, _, _, length = _OBJECT.unpack_from(data, at)
        step = length if index == 0 else _OBJECT.size + (length + 7) // 8 * 8
        if step == 0:
            return False
        at += step
    return True


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
