"""The part of `io` for checksums: a JSON file carries its own, and those of the files beside it.

NPZ files carry one of each array, which is checked wherever an array is read.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.regular_file import cannot_be_read, opened

KEY = "checksum"
"""In a JSON file: SHA-256 of all its other keys, written as JSON with sorted keys."""

FILES = "files"
"""In a JSON file: name of a file in its folder -> SHA-256."""


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with opened(path) as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise cannot_be_read(path, error) from None


def signed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes into a JSON file, with its checksum; NaN raises `ValueError`."""
    return {**data, KEY: _digest(json.loads(json.dumps(data, allow_nan=False)))}


def verified(path: str | Path, data: dict[str, Any], *, sign: bool) -> dict[str, Any]:
    """Return what came out of a JSON file, without its checksum.

    sign: whether it must have one; files of other programs have none.

    Raises
    ------
    InputError
        If the file was changed after it was written, or lacks the checksum that it must have.
    """
    rest = {key: value for key, value in data.items() if key != KEY}
    if sign and KEY not in data:
        raise InputError(
            f"{path}: lacks '{KEY}': another program or version wrote it, or it was changed "
            "afterwards; delete it and run again"
        )
    if KEY in data and (found := _digest(rest)) != data[KEY]:
        raise InputError(
            f"{path}: was changed after it was written: its contents have the checksum {found}, "
            f"expected {data[KEY]}; delete it and run again"
        )
    return rest


def sums_of(*paths: str | Path) -> dict[str, str]:
    """Return the checksums of files, by name, for the JSON file beside them."""
    return {Path(path).name: sha256(path) for path in paths}


def must_have(path: str | Path, expected: str | None) -> None:
    """Raise `InputError` if a file has not the checksum that is recorded, where one is."""
    if expected is not None and (found := sha256(path)) != expected:
        raise InputError(
            f"{path}: SHA-256 is {found}, expected {expected}; the file changed after it was "
            "written, or is another one: delete it and run again"
        )


def must_match(path: str | Path, facts: Mapping[str, Any]) -> None:
    """Raise `InputError` if a file is not the one that the JSON file beside it was written with."""
    recorded = facts.get(FILES) or {}
    must_have(path, recorded.get(Path(path).name))


def _digest(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
