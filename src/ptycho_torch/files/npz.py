"""The part of `io` that reads NPZ: what an archive claims is held against its size first.

NPZ is a zip archive of .npy files; it may be packed by bzip2. A few kilobytes can claim petabytes,
in an array's header, in the archive's table or by compression, so that nothing is made room for
before header, table and file agree. No member is ever written to disk, so that no name of one can
lead anywhere.
"""

import bz2
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.regular_file import PathLike, opened, size_of

LARGEST = 32 * 2**30
"""Bytes that one array may claim."""
LARGEST_UNPACKED = 4 * 2**30
"""Bytes that a file packed by bzip2 may grow to, in memory; a small one can hide petabytes."""

# Measured counts shrink to a tenth, masks and other near constants to a hundredth; bombs to a
# thousandth and far less. What is small unpacked does no harm.
_MOST_PACKED, _HARMLESS = 250, 2**28
_MOST_MEMBERS = 10_000
_ZIP, _NPY = (b"PK\x03\x04", b"PK\x05\x06"), b"\x93NUMPY"

# What a damaged or hostile archive makes numpy, zipfile and the decompressors raise; encryption
# and unknown compression are RuntimeErrors.
_UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, lzma.LZMAError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)


def most_unpacked(packed_bytes: int) -> int:
    """Return how many bytes a compressed file of a size may become."""
    return max(_HARMLESS, _MOST_PACKED * packed_bytes)


def npz_keys(path: PathLike) -> list[str]:
    """Return the names of the arrays in an NPZ file; `InputError` if it is not one."""
    with _opened(path) as (_, members):
        return list(members)


def read_npz(path: PathLike, *keys: str) -> dict[str, NDArray[Any]]:
    """Return the named arrays of an NPZ file, all of them if none is named.

    Raises
    ------
    InputError
        If the file is missing, not an NPZ, truncated, or lacks an array; if an array is pickled,
        which is never loaded; or if it claims more than the file can hold.
    """
    with _opened(path) as (archive, members):
        for key in keys:
            if key not in members:
                raise InputError(f"{path}: has no array '{key}'; it has: {', '.join(members)}")
        return {key: _array(path, archive, members[key], key) for key in keys or members}


def read_npz_known(path: PathLike, *keys: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return those of the named arrays that an NPZ file has, and the names of all it has.

    The file is unpacked once, which matters where it is packed by bzip2. Raises as `read_npz`.
    """
    with _opened(path) as (archive, members):
        found = {key: _array(path, archive, members[key], key) for key in keys if key in members}
        return found, list(members)


def npz_is_text(path: PathLike, key: str) -> bool:
    """Return whether an array of an NPZ file is text, without loading pickled data."""
    try:
        return bool(read_npz(path, key)[key].dtype.kind == "U")
    except InputError:
        return False


@contextmanager
def _opened(path: PathLike) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open an archive and yield it with its members by the names of their arrays."""
    try:
        stream = _unpacked(path)
    except _UNREADABLE as error:
        raise _refused(path, error) from None
    with stream:
        try:
            archive = zipfile.ZipFile(_checked_start(path, stream))
        except _UNREADABLE as error:
            raise _refused(path, error) from None
        with archive:
            yield archive, _members(path, archive, stream)


def _refused(path: PathLike, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, OSError) and error.strerror:
        return InputError(f"{path}: cannot be read: {error.strerror}")
    return InputError(
        f"{path}: is not an NPZ file, or is truncated ({error}); make or copy it again"
    )


def _checked_start(path: PathLike, stream: IO[bytes]) -> IO[bytes]:
    start = stream.read(len(_NPY))
    stream.seek(0)
    if start == _NPY:
        raise InputError(f"{path}: is a single array, expected an NPZ file of named arrays")
    if start[:4] not in _ZIP:
        raise ValueError("no zip archive; what is pickled is never loaded")
    return stream


def _unpacked(path: PathLike) -> IO[bytes]:
    """Return the opened file, or what it holds in memory where it is packed by bzip2."""
    stream = opened(path)
    start = stream.read(3)
    stream.seek(0)
    if start != b"BZh":
        return stream
    most = min(LARGEST_UNPACKED, most_unpacked(size_of(path)))
    whole = BytesIO()
    with stream, bz2.open(stream) as packed:
        while block := packed.read(2**20):
            if whole.tell() + len(block) > most:
                raise InputError(
                    f"{path}: unpacks to more than {most} bytes; unpack it yourself (bunzip2) if "
                    "it is to be trusted"
                )
            whole.write(block)
    whole.seek(0)
    return whole


def _members(
    path: PathLike, archive: zipfile.ZipFile, stream: IO[bytes]
) -> dict[str, zipfile.ZipInfo]:
    """Return members by name; refuse doubles, and an archive that claims to unpack to too much."""
    infos = archive.infolist()
    size = stream.seek(0, 2)
    if len(infos) > _MOST_MEMBERS:
        raise InputError(f"{path}: holds {len(infos)} arrays, at most {_MOST_MEMBERS} are read")
    claimed = sum(info.file_size for info in infos)
    if claimed > most_unpacked(size):
        raise InputError(
            f"{path}: claims to unpack from {size} to {claimed} bytes, as no measurement does; if "
            "it is to be trusted, load it in numpy and save it by numpy.savez, uncompressed"
        )
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) < len(infos):
        raise InputError(f"{path}: holds two arrays of one name; make it again")
    return members


def _array(
    path: PathLike, archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str
) -> NDArray[Any]:
    try:
        with archive.open(info) as member:
            if member.read(len(_NPY)) != _NPY:
                raise InputError(f"{path}: '{key}' is no array")
        with archive.open(info) as member:
            _check_claim(member, info.file_size)
        with archive.open(info) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"{path}: array '{key}' cannot be read: {error}") from None


def _check_claim(member: IO[bytes], size: int) -> None:
    """Raise `ValueError` if an .npy file's header does not claim what the archive has of it."""
    version = np.lib.format.read_magic(member)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"it is .npy of version {version}, expected (1, 0) or (2, 0)")
    shape, _, dtype = readers[version](member)
    if dtype.hasobject:
        raise ValueError("it is pickled, which is never loaded")
    if any(side < 0 for side in shape):
        raise ValueError(f"it claims the shape {shape}")
    claimed, there = math.prod(shape) * dtype.itemsize, size - member.tell()
    if claimed != there or claimed > LARGEST or math.prod(shape) > LARGEST:
        raise ValueError(
            f"it claims {shape} {dtype}, {claimed} bytes, and the archive has {there} of it; at "
            f"most {LARGEST} are read"
        )
