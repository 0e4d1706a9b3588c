"""Checksums: a split is the one that `dataset.json` was written with, a download the known file."""

import hashlib
from pathlib import Path

from ptycho_torch.runtime.disk import cannot_be_read, opened
from ptycho_torch.runtime.errors import InputError


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with opened(path) as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise cannot_be_read(path, error) from None


def must_have(path: str | Path, expected: str | None) -> None:
    """Raise `InputError` if a file has not the checksum that is recorded, where one is."""
    if expected is not None and (found := sha256(path)) != expected:
        raise InputError(
            f"{path}: SHA-256 is {found}, expected {expected}; the file changed after it was "
            "written, or is another one: delete it and run again"
        )
