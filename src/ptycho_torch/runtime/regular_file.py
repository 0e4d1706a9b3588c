"""Regular files opened to read; what cannot be read is an `InputError` in one line."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from ptycho_torch.runtime.errors import InputError

PathLike = str | Path


def size_of(path: PathLike) -> int:
    """Return the size of a regular file, bytes; a pipe or a device may never end: `InputError`."""
    try:
        facts = os.stat(path)  # noqa: PTH116 (a `Path` hides a NUL in a name)
    except (OSError, ValueError) as error:
        raise cannot_be_read(path, error) from None
    if not stat.S_ISREG(facts.st_mode):
        what = "Is a directory" if stat.S_ISDIR(facts.st_mode) else "it is a pipe or a device"
        raise InputError(f"{path}: cannot be read: {what}")
    return facts.st_size


def opened(path: PathLike) -> BufferedReader:
    """Return a regular file, opened to read bytes; raises as `size_of`."""
    size_of(path)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise cannot_be_read(path, error) from None


def cannot_be_read(path: PathLike, error: Exception) -> InputError:
    """Return the mistake that opening or reading a file is, with the system's reason."""
    return InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")


def read_text(path: PathLike) -> str:
    """Return a UTF-8 text file; raises as `size_of`, or if it is not UTF-8."""
    try:
        with opened(path) as stream:
            return stream.read().decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a UTF-8 text file") from None
    except OSError as error:
        raise cannot_be_read(path, error) from None
