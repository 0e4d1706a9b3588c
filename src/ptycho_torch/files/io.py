"""The only module that opens data files: whole or not at all, and nothing unpickled.

Beside it are its parts for opening (`io_open`), whole files (`io_whole`), checksums (`io_checks`),
NPZ (`io_npz`; may be packed by bzip2), HDF5 (`io_hdf5`), downloads (`io_download`) and the state of
a training (`io_state`).
"""

import json
import math
import warnings
import zipfile
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_torch.files.checksums import sha256 as sha256
from ptycho_torch.files.checksums import signed, verified
from ptycho_torch.files.npz import npz_is_text, npz_keys, read_npz, read_npz_known
from ptycho_torch.runtime.atomic_write import atomic_write as atomic_write
from ptycho_torch.runtime.atomic_write import save_tensors
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.regular_file import PathLike, cannot_be_read, opened, read_text, size_of

if TYPE_CHECKING:
    import pandas as pd
    import torch

__all__ = ["PathLike", "npz_is_text", "npz_keys", "read_npz", "read_npz_known"]

LARGEST_JSON, LARGEST_CSV = 2**27, 2**29
"""Bytes of a file; Python needs up to thirty times as many for JSON."""
_MOST_COLUMNS = 2000
_PIECE = 2**20
"""Bytes of an array that are written at once."""

WORDS = {
    *("stages", "measurement", "dataset", "arm", "outcome", "reason", "failure_found"),
    *("val_loss_name", "device", "commit", "platform", "torch", "undefined"),
}
"""Columns of tables that hold words; all others hold numbers, truths, or nothing."""


def write_text(path: PathLike, text: str) -> None:
    """Write a UTF-8 text file, whole."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: PathLike, data: Mapping[str, Any], *, sign: bool = True) -> None:
    """Write JSON, whole; NaN and infinity have no place in it and raise `ValueError`.

    sign: whether its checksum goes with it as the last key.
    """
    whole = signed(data) if sign else data
    write_text(path, json.dumps(whole, indent=2, allow_nan=False) + "\n")


def read_json(path: PathLike, *, sign: bool = True) -> dict[str, Any]:
    """Return the object in a JSON file, without the checksum that `write_json` put there.

    sign: whether the checksum must be there; one that is there must be right.

    Raises
    ------
    InputError
        If the file cannot be read, was changed, lacks its checksum, or holds anything but a JSON
        object; NaN, infinity, whole numbers beyond 64 bits and half characters, which JSON has no
        place for, included.
    """
    try:
        text = read_text(path, LARGEST_JSON)
        data = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_of_64_bits)
        if "\\ud" in text.lower():
            json.dumps(data, ensure_ascii=False).encode("utf-8")
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); delete it and run again") from None
    except RecursionError:
        raise InputError(f"{path}: is not JSON that is read here: nested too deeply") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return verified(path, data, sign=sign)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON; what is not defined is null")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _of_64_bits(digits: str) -> int:
    number = int(digits)
    return number if abs(number) < 2**63 else _refuse(digits)


def read_csv(path: PathLike) -> "pd.DataFrame":
    """Return the table in a CSV file with a header; a header alone is a table without rows.

    Raises
    ------
    InputError
        If the file cannot be read, has no header, is not a table, or has words where numbers
        belong.
    """
    import pandas as pd  # Slow to import, and only the summaries need it.

    with opened(path, LARGEST_CSV) as stream, warnings.catch_warnings():
        # A row that is longer than the header would be cut in silence, or move all columns.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            columns = stream.readline().count(b",") + 1
            if columns > _MOST_COLUMNS:
                raise InputError(f"{path}: has {columns} columns, at most {_MOST_COLUMNS} are read")
            stream.seek(0)
            table = pd.read_csv(stream, index_col=False)
            # An arm may be called 1, NA or 1e5, which are words here.
            words = table.columns.intersection(["dataset", "arm"])
            if len(words):
                stream.seek(0)
                table[words] = pd.read_csv(
                    stream, usecols=words, dtype=str, keep_default_na=False, index_col=False
                )
        except InputError:
            raise
        except OSError as error:
            raise cannot_be_read(path, error) from None
        # pandas' parser errors and bad UTF-8 are ValueErrors.
        except (*(ValueError, LookupError, OverflowError), MemoryError, Warning) as error:
            said = " ".join(str(error).split())
            raise InputError(f"{path}: is not a CSV table ({said}); make it again") from None
    for column in table.columns if len(table) else ():
        if column not in WORDS and not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(
                f"{path}: the column '{column}' holds what is no number; make it again"
            )
    return table


def write_csv(path: PathLike, table: "pd.DataFrame") -> None:
    """Write a table as CSV, whole; what is not defined is an empty field."""
    with atomic_write(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def write_npz(path: PathLike, arrays: Mapping[str, ArrayLike]) -> None:
    """Write arrays as NPZ, whole; object arrays are refused, since they would be pickled."""
    with (
        atomic_write(path) as part,
        part.open("wb") as handle,
        zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive,
    ):
        for key, value in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                _write_npy(member, np.asarray(value))


def _write_npy(stream: IO[bytes], array: NDArray[Any]) -> None:
    """Write the bytes that `np.savez` does, in pieces that stay in the processor's cache: its own
    of 16 MiB, each copied before it is written, take up to three times as long."""
    if array.dtype.hasobject or array.dtype.names or not array.flags.c_contiguous:
        np.lib.format.write_array(stream, array, allow_pickle=False)
        return
    facts = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, facts)
    whole = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(whole), _PIECE):
        stream.write(whole[start : start + _PIECE])


def first_bytes(path: PathLike, count: int = 8) -> bytes:
    """Return how a file begins, to tell what it is.

    Raises
    ------
    InputError
        If it is missing, a folder, empty or cannot be read.
    """
    with opened(path) as handle:
        start = handle.read(count)
    if not start:
        raise InputError(f"{path}: is empty; copy or make it again")
    return start


def write_tensors(path: PathLike, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Write torch tensors as safetensors, whole; names and shapes only, nothing to execute."""
    with atomic_write(path) as part:
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

    size_of(path)
    try:
        return load_file(path)
    except OSError as error:
        raise cannot_be_read(path, error) from None
    except SafetensorError as error:
        raise InputError(
            f"{path}: is not a whole safetensors file ({error}); copy or make it again"
        ) from None
