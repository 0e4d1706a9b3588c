"""Files are written under a temporary name and moved into place: there whole, or not at all."""

import contextlib
import errno
import glob
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from ptycho_torch.runtime.errors import InputError

PathLike = str | Path

_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room on that disk"),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM), "make the folder writable, or choose another"
    ),
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR, errno.ELOOP), "its folder cannot be made; choose another"
    ),
    errno.EISDIR: "it is a folder; give the name of a file",
}


@contextlib.contextmanager
def atomic_write(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place if the block ends well.

    What it holds is on the disk before its name is: a loss of power leaves no empty file.

    Raises
    ------
    InputError
        If the disk is full, a quota is met, or the folder may not be written.
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
        raise write_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_error(path: Path, error: OSError) -> Exception:
    """Return the user's mistake behind a disk's error; the error itself if it is of another kind,
    or about a file elsewhere."""
    elsewhere = error.filename is not None and path.parent not in (
        Path(error.filename),
        *Path(error.filename).parents,
    )
    above = error.filename is not None and Path(error.filename) in path.parents
    if (elsewhere and not above) or error.errno not in _CURES:
        return error
    return InputError(f"{path}: cannot be written: {error.strerror}; {_CURES[error.errno]}")


def remove_leftovers(path: PathLike) -> None:
    """Remove what a killed process left of a file under the temporary names of `atomic_write`."""
    path = Path(path)
    for part in path.parent.glob(f".{glob.escape(path.stem)}-????????{glob.escape(path.suffix)}"):
        part.unlink(missing_ok=True)
