"""The only module that opens data files: whole or not at all, and nothing unpickled.

Beside it are HDF5 (`hdf5`) and downloads (`download`). An NPZ may be packed by bzip2.
"""

import bz2
import fnmatch
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.runtime.disk import PathLike, atomic_write, opened, read_text, write_text
from ptycho_torch.runtime.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import torch

__all__ = ["PathLike", "atomic_write", "write_text"]

_PARTS = (("real", "imag"), ("real", "imaginary"), ("r", "i"), ("re", "im"))


class Record(dict[str, Any]):
    """An object of a JSON file, in which a key that is missing is the file's mistake."""

    def __init__(self, of_file: PathLike, values: Mapping[str, Any]):
        super().__init__(values)
        self.of_file = of_file

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.of_file}: lacks '{key}'; another version wrote it, make it again")


def sha256(path: PathLike) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with opened(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def must_have(path: PathLike, expected: str | None) -> None:
    """Raise `InputError` if a file has not the checksum that is recorded, where one is."""
    if expected is not None and (found := sha256(path)) != expected:
        raise InputError(
            f"{path}: SHA-256 is {found}, expected {expected}; the file changed after it was "
            "written, or belongs to other files: copy all of them again, or delete it and run again"
        )


def write_json(path: PathLike, data: Mapping[str, Any]) -> None:
    """Write JSON, whole; NaN and infinity have no place in it and raise `ValueError`."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def finite_or_none(value: float | None) -> float | None:
    """Return a number as JSON has it: None where it is not finite, or not there."""
    return None if value is None or not math.isfinite(value) else float(value)


def read_json(path: PathLike) -> Record:
    """Return the object in a JSON file, whose missing keys are an `InputError` where they are read,
    as is a file that cannot be read, or holds anything but an object without NaN or infinity."""
    text = read_text(path)
    try:
        data = json.loads(text, parse_constant=_refuse, object_hook=partial(Record, path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); delete it and run again") from None
    if not isinstance(data, Record):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON; what is not defined is null")


def read_csv(path: PathLike) -> "pd.DataFrame":
    """Return the table in a CSV file with a header; a header alone is a table without rows.
    `InputError` if the file cannot be read, or is no such table."""
    import pandas as pd  # Slow to import, and only the summaries need it.

    # An arm may be called 1, NA or 1e5, which are words here.
    words = {"dataset": str, "arm": str}
    with opened(path) as stream:
        try:
            return pd.read_csv(stream, dtype=words, keep_default_na=False, na_values=[""])
        except ValueError as error:  # So are pandas' parser errors and bad UTF-8.
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: is not a CSV table ({reason}); make it again") from None


def write_csv(path: PathLike, table: "pd.DataFrame") -> None:
    """Write a table as CSV, whole; what is not defined is an empty field."""
    with atomic_write(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def write_npz(path: PathLike, arrays: Mapping[str, Any]) -> None:
    """Write arrays of numbers as NPZ, whole."""
    with atomic_write(path) as part, part.open("wb") as handle:
        np.savez(handle, **arrays)


def complex_fields(dtype: Any) -> list[str]:
    """Return the two fields by which other programs write a complex number; none in other types."""
    fields = {name.lower(): name for name in getattr(dtype, "names", None) or ()}
    return next(([fields[part] for part in p] for p in _PARTS if fields.keys() == set(p)), [])


def as_complex(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array of such pairs as complex numbers, and any other as it is."""
    pair = complex_fields(values.dtype)
    return np.asarray(values[pair[0]] + 1j * values[pair[1]]) if pair else np.asarray(values)


def npz_keys(path: PathLike) -> list[str]:
    """Return the names of the arrays in an NPZ file; `InputError` if it is not one."""
    with _archive(path) as archive:
        return list(_members(archive))


def read_npz(path: PathLike, *keys: str) -> dict[str, NDArray[Any]]:
    """Return the named arrays of an NPZ file, all of them if none is named.

    Raises `InputError` if the file is missing, not an NPZ, truncated, or lacks an array, or if an
    array is pickled, which is never loaded, or claims more than the file holds of it.
    """
    return read_npz_known(path, *keys, needed=keys)[0]


def read_npz_known(
    path: PathLike, *keys: str, needed: Sequence[str] = (), optional: Collection[str] = ()
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return those of the named arrays (all if none is named) that an NPZ file has, and the names
    of all it has; those that are `optional` are left out where they are pickled. Raises as
    `read_npz`, where one that is `needed` is not there."""
    found = {}
    with _archive(path) as archive:
        members = _members(archive)
        for key in [key for key in keys or members if key in members]:
            try:
                array = _array(archive, members[key])
                if array is None and key not in optional:
                    raise ValueError("it is pickled, which is never loaded")
            except MemoryError:
                raise
            except Exception as error:
                raise InputError(f"{path}: array '{key}' cannot be read: {error}") from None
            if array is not None:
                found[key] = as_complex(array)
    if lacking := [key for key in needed if key not in found]:
        raise InputError(f"{path}: has no array '{lacking[0]}'; it has: {', '.join(members)}")
    return found, list(members)


@contextmanager
def _archive(path: PathLike) -> Iterator[zipfile.ZipFile]:
    with opened(path) as stream:
        try:
            packed = stream.peek(3)[:3] == b"BZh"
            whole = BytesIO(bz2.decompress(stream.read())) if packed else stream
            archive = zipfile.ZipFile(whole)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: is not an NPZ file, or is truncated ({error}); make or copy it again"
            ) from None
        with archive:
            yield archive


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    return {name.removesuffix(".npy"): name for name in archive.namelist()}


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any] | None:
    """Return an array once its header claims what the archive has of it; None if it is pickled."""
    with archive.open(name) as member:
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(member)]
        shape, _, dtype = read_header(member)
        there = archive.getinfo(name).file_size - member.tell()
    if dtype.hasobject:
        return None
    if math.prod(shape) * dtype.itemsize != there:
        raise ValueError(f"it claims {shape} {dtype}, and the archive has {there} bytes")
    with archive.open(name) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def is_hdf5(path: PathLike) -> bool:
    """Return whether a file begins as HDF5 does; `InputError` if it cannot be read."""
    with opened(path) as handle:
        return handle.read(8) == b"\x89HDF\r\n\x1a\n"


def write_tensors(path: PathLike, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Write torch tensors as safetensors, whole; names and shapes only, nothing to execute."""
    from safetensors.torch import save

    with atomic_write(path) as part:
        part.write_bytes(save(dict(tensors)))


def read_tensors(path: PathLike) -> "dict[str, torch.Tensor]":
    """Return the tensors of a safetensors file; `InputError` if it is not a whole one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    opened(path).close()
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(
            f"{path}: is not a whole safetensors file ({error}); copy or make it again"
        ) from None


def must_be_free(
    folder: PathLike, files: Sequence[str], *, overwrite: bool, state: str = ""
) -> Path:
    """Return the folder once it is known to be free for results; `InputError` if it holds files and
    may not be used, or is none. Nothing is made or touched.

    files: all that the command writes there, which `overwrite` lets it replace; the first is to be
    removed before any and written last: torn results that replace others never look finished.
    state: pattern of the files from which unfinished runs resume: a folder that has one, but not
    the first of `files`, and nothing besides them, is free.
    """
    folder = Path(folder)
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise InputError(f"{folder}: {place} is no folder; give a folder for the results")
    # Locks and what a killed process left half-written begin with a dot.
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    found = sorted(name for name in names if not name.startswith("."))
    states = set(fnmatch.filter(found, state))
    finished = files[0] in found
    resumes = states and not finished and set(found) <= {*states, *files}
    if found and not overwrite and not resumes:
        what = "a finished run" if finished else "files"
        raise InputError(
            f"{folder}: holds {what} ({', '.join(found[:3])}); give another folder, or --overwrite "
            f"to replace {', '.join(files[:3])} ... in it"
        )
    return folder
