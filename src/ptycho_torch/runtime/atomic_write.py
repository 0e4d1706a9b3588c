"""The part of `io` that writes: a file is there whole, or not at all."""

import contextlib
import errno
import glob
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_torch.runtime.errors import InputError

if TYPE_CHECKING:
    import torch

PathLike = str | Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.ENOENT, errno.ELOOP)
_NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def atomic_write(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place if the block ends well.

    What it holds is on the disk before its name is: a loss of power leaves no empty file.

    Raises
    ------
    InputError
        If the disk is full, a quota or limit is met, or the folder may not be written.
    """
    path = Path(path)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        part = Path(name)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        if (why := _why_not(error, path)) is None:
            raise
        raise InputError(f"{path}: cannot be written: {why}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def save_tensors(
    path: Path, tensors: "Mapping[str, torch.Tensor]", metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file; a disk's error is an `OSError`, as elsewhere."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error)) or re.search(r"code: (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def _why_not(error: OSError, path: Path) -> str | None:
    """Return what a disk's error means, with its cure; None for errors of another kind."""
    if error.filename is not None and Path(error.filename).parent != path.parent:
        inside = Path(error.filename) in path.parents
        if not inside:
            return None
    if error.errno in _NO_ROOM:
        return f"{error.strerror}; make room on that disk, then the same command goes on"
    if error.errno in _NOT_ALLOWED:
        return f"{error.strerror}; make the folder writable, or choose another"
    if error.errno in _NO_FOLDER and not path.parent.is_dir():
        return f"'{path.parent}' is no folder and cannot be made one; choose another"
    if error.errno == errno.EISDIR and path.is_dir():
        return "it is a folder; give the name of a file"
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_leftovers(path: str | Path) -> None:
    """Remove what a killed process left of a file, under the temporary names of `atomic_write`."""
    path = Path(path)
    for part in path.parent.glob(f".{glob.escape(path.stem)}-????????{glob.escape(path.suffix)}"):
        part.unlink(missing_ok=True)
