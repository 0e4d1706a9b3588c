"""Files are written under a temporary name and moved into place: whole, or not at all.

What cannot be read or written is an `InputError` in one line.
"""

import contextlib
import glob
import os
import uuid
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ptycho_torch.runtime.errors import InputError

PathLike = str | Path


@contextlib.contextmanager
def atomic_write(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place if the block ends well, once it is
    on the disk: a loss of power leaves no empty file.

    Raises `InputError` if the disk is full, a quota is met, or the folder may not be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except OSError as error:
        raise cannot_be_written(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_text(path: PathLike, text: str) -> None:
    """Write a UTF-8 text file, whole."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def cannot_be_written(path: PathLike, error: OSError) -> InputError:
    """Return the mistake that writing a file is, with the system's reason."""
    cure = "make room and see to permissions there, or choose another folder"
    return InputError(f"{path}: cannot be written: {error.strerror or error}; {cure}")


def remove_leftovers(path: PathLike) -> None:
    """Remove what a killed process left of a file under the temporary names of `atomic_write`."""
    path = Path(path)
    for part in path.parent.glob(f".{glob.escape(path.stem)}-????????{glob.escape(path.suffix)}"):
        part.unlink(missing_ok=True)


def opened(path: PathLike) -> BufferedReader:
    """Return a file, opened to read bytes; `InputError` if it cannot be."""
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}") from None


def read_text(path: PathLike) -> str:
    """Return a UTF-8 text file, without a byte order mark; `InputError` if it is none."""
    try:
        with opened(path) as stream:
            return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        what = "is not a UTF-8 text file (UTF-16 or Latin-1?); save it as UTF-8"
        raise InputError(f"{path}: {what}") from None
