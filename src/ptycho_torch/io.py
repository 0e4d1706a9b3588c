"""The only module that opens data files: whole or not at all, and nothing unpickled.

Beside it are its parts for whole files (`io_whole`), checksums (`io_checks`), HDF5 (`io_hdf5`),
downloads (`io_download`) and the state of a training (`io_state`). NPZ may be packed by bzip2.
"""

import bz2
import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_torch.config.base import InputError
from ptycho_torch.io_checks import sha256 as sha256
from ptycho_torch.io_checks import signed, verified
from ptycho_torch.io_whole import PathLike as PathLike
from ptycho_torch.io_whole import save_tensors
from ptycho_torch.io_whole import whole_file as whole_file

if TYPE_CHECKING:
    import pandas as pd
    import torch


def write_text(path: PathLike, text: str) -> None:
    """Write a UTF-8 text file, whole."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: PathLike, data: Mapping[str, Any], *, sign: bool = True) -> None:
    """Write JSON, whole; NaN and infinity have no place in it and raise `ValueError`.

    sign: whether its checksum goes with it as the last key.
    """
    whole = signed(data) if sign else data
    write_text(path, json.dumps(whole, indent=2, allow_nan=False) + "\n")


def read_json(path: PathLike) -> dict[str, Any]:
    """Return the object in a JSON file, without the checksum that `write_json` put there.

    Raises
    ------
    InputError
        If the file cannot be read, holds anything but a JSON object, or was changed.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); delete it and run again") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return verified(path, data)


def read_csv(path: PathLike) -> "pd.DataFrame":
    """Return the table in a CSV file with a header; a header alone is a table without rows.

    Raises
    ------
    InputError
        If the file cannot be read, has no header, or is not a table.
    """
    import pandas as pd  # Slow to import, and only the summaries need it.

    try:
        table = pd.read_csv(path)
        # An arm may be called 1, NA or 1e5, which are words here.
        words = table.columns.intersection(["dataset", "arm"])
        if len(words):
            table[words] = pd.read_csv(path, usecols=words, dtype=str, keep_default_na=False)
        return table
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # pandas' parser errors and bad UTF-8 are ValueErrors.
        raise InputError(f"{path}: is not a CSV table ({error}); make it again") from None


def write_csv(path: PathLike, table: "pd.DataFrame") -> None:
    """Write a table as CSV, whole; what is not defined is an empty field."""
    with whole_file(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def write_npz(path: PathLike, arrays: Mapping[str, ArrayLike]) -> None:
    """Write arrays as NPZ, whole; object arrays are refused, since they would be pickled."""
    with whole_file(path) as part, part.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})


def npz_keys(path: PathLike) -> list[str]:
    """Return the names of the arrays in an NPZ file; `InputError` if it is not one."""
    with _open_npz(path) as archive:
        return list(archive.files)


def read_npz(path: PathLike, *keys: str) -> dict[str, NDArray[Any]]:
    """Return the named arrays of an NPZ file, all of them if none is named.

    Raises
    ------
    InputError
        If the file is missing, not an NPZ, truncated, or lacks an array; or if an array is
        pickled, which is never loaded.
    """
    with _open_npz(path) as archive:
        for key in keys:
            if key not in archive.files:
                raise InputError(
                    f"{path}: has no array '{key}'; it has: {', '.join(archive.files)}"
                )
        return {key: _array(path, archive, key) for key in keys or archive.files}


def read_npz_known(path: PathLike, *keys: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return those of the named arrays that an NPZ file has, and the names of all it has.

    The file is unpacked once, which matters where it is packed by bzip2. Raises as `read_npz`.
    """
    with _open_npz(path) as archive:
        present = list(archive.files)
        return {key: _array(path, archive, key) for key in keys if key in present}, present


def _array(path: PathLike, archive: Any, key: str) -> NDArray[Any]:
    try:
        array = archive[key]
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: array '{key}' cannot be read: {_without_advice(error)}"
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: '{key}' is no array")
    return array


def _open_npz(path: PathLike) -> Any:
    try:
        archive = np.load(_unpacked(path), allow_pickle=False)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is not an NPZ file, or is truncated ({_without_advice(error)}); make or copy "
            "it again"
        ) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: is a single array, expected an NPZ file of named arrays")
    return archive


def first_bytes(path: PathLike, count: int = 8) -> bytes:
    """Return how a file begins, to tell what it is.

    Raises
    ------
    InputError
        If it is missing, a folder, empty or cannot be read.
    """
    try:
        with Path(path).open("rb") as handle:
            start = handle.read(count)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not start:
        raise InputError(f"{path}: is empty; copy or make it again")
    return start


LARGEST_UNPACKED = 4 * 2**30
"""Bytes that a file packed by bzip2 may grow to, in memory; a small one can hide petabytes."""


def _unpacked(path: PathLike) -> Path | BytesIO:
    """Return the path, or what it holds in memory where it is packed by bzip2."""
    path = Path(path)
    with path.open("rb") as handle:
        if handle.read(3) != b"BZh":
            return path
    whole = BytesIO()
    with bz2.open(path) as packed:
        while block := packed.read(2**20):
            if whole.tell() + len(block) > LARGEST_UNPACKED:
                raise InputError(
                    f"{path}: unpacks to more than {LARGEST_UNPACKED} bytes; unpack it yourself "
                    "(bunzip2) if it is to be trusted"
                )
            whole.write(block)
    whole.seek(0)
    return whole


# What a damaged or hostile archive makes numpy and zipfile raise: encryption and unknown
# compression are RuntimeErrors, a header that claims too much a MemoryError.
_UNREADABLE = (
    *(ValueError, EOFError, OSError, RuntimeError, MemoryError, SyntaxError, KeyError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


def _without_advice(error: BaseException) -> str:
    """Return a message without numpy's advice to unpickle."""
    text = str(error)
    return "it is pickled, which is never loaded" if "pickle" in text else text


def npz_is_text(path: PathLike, key: str) -> bool:
    """Return whether an array of an NPZ file is text, without loading pickled data."""
    try:
        return bool(read_npz(path, key)[key].dtype.kind == "U")
    except InputError:
        return False


def write_tensors(path: PathLike, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Write torch tensors as safetensors, whole; names and shapes only, nothing to execute."""
    with whole_file(path) as part:
        save_tensors(part, tensors)


def read_tensors(path: PathLike) -> "dict[str, torch.Tensor]":
    """Return the tensors of a safetensors file.

    Raises
    ------
    InputError
        If the file cannot be read, or is not a whole safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from None
    except SafetensorError as error:
        raise InputError(
            f"{path}: is not a whole safetensors file ({error}); copy or make it again"
        ) from None
