"""The part of `io` that opens: only regular files, no larger than asked, mistakes in one line."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from ptycho_torch.runtime.errors import InputError

PathLike = str | Path


def size_of(path: PathLike, most: int | None = None) -> int:
    """Return the size of a regular file, bytes.

    Raises
    ------
    InputError
        If there is none, if it is larger than `most`, or a pipe or a device, which may never end.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 (a `Path` hides a NUL in a name)
    except (OSError, ValueError) as error:
        raise cannot_be_read(path, error) from None
    if stat.S_ISDIR(facts.st_mode):
        raise InputError(f"{path}: cannot be read: Is a directory")
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"{path}: cannot be read: it is a pipe or a device, expected a file")
    if most is not None and facts.st_size > most:
        raise InputError(f"{path}: has {facts.st_size} bytes; at most {most} are read of its kind")
    return facts.st_size


def opened(path: PathLike, most: int | None = None) -> BufferedReader:
    """Return a regular file, opened to read bytes; raises as `size_of`."""
    size_of(path, most)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise cannot_be_read(path, error) from None


def cannot_be_read(path: PathLike, error: Exception) -> InputError:
    """Return the mistake that opening or reading a file is, with the system's reason."""
    return InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")


def read_text(path: PathLike, most: int) -> str:
    """Return a UTF-8 text file of at most `most` bytes.

    Raises
    ------
    InputError
        As `size_of`, or if it is not UTF-8.
    """
    try:
        with opened(path, most) as stream:
            return stream.read().decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a UTF-8 text file") from None
    except OSError as error:
        raise cannot_be_read(path, error) from None
