"""The only module that opens data files: whole or not at all, and nothing unpickled.

Beside it are NPZ (`npz`), HDF5 (`hdf5`) and downloads (`download`).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ptycho_torch.files.npz import npz_keys, read_npz, read_npz_known
from ptycho_torch.runtime.disk import (
    PathLike,
    atomic_write,
    cannot_be_read,
    opened,
    read_text,
)
from ptycho_torch.runtime.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import torch

__all__ = ["PathLike", "atomic_write", "npz_keys", "read_npz", "read_npz_known"]

# What the readers of a JSON result need of it; the keys of blocks with dots.
_KEYS: dict[str, str] = {
    "dataset": "patch_px settings splits.train.sha256 splits.validation.sha256 splits.test.sha256",
    "tiles": "test_step_px",
    "constant": "splits.validation.constant_loss",
    "run": "dataset arm seed settings outcome failure dataset_sha256 epochs steps val_loss_name "
    "best_epoch best_val_loss last_val_loss best_mae_val_loss first_loss parameters.stored "
    "parameters.full gradient_norm clipped_share loss_spikes versions",
    "evaluated": "dataset arm seed outcome failure best_val_loss last_val_loss best_mae_val_loss",
    "reconstructed": "dataset engine settings dataset_sha256 iterations seconds error wall_s "
    "r_factor device threads commit platform versions",
    "scores": "dataset arm seed settings outcome failure reason twin best last constant truth "
    "undefined",
    "diagnoses": "dataset networks",
    "timing": "wall_s inference_s samples_per_s peak_memory_mib device threads commit platform",
    "rPIE scores": "best undefined outcome",
    "rPIE": "scored settings dataset_sha256 r_factor device threads iterations",
    "findings": "name title question answer claims dataset arms baselines undefined",
}


def sha256(path: PathLike) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with opened(path) as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise cannot_be_read(path, error) from None


def must_have(path: PathLike, expected: str | None) -> None:
    """Raise `InputError` if a file has not the checksum that is recorded, where one is."""
    if expected is not None and (found := sha256(path)) != expected:
        raise InputError(
            f"{path}: SHA-256 is {found}, expected {expected}; the file changed after it was "
            "written, or is another one: delete it and run again"
        )


def write_text(path: PathLike, text: str) -> None:
    """Write a UTF-8 text file, whole."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: PathLike, data: Mapping[str, Any]) -> None:
    """Write JSON, whole; NaN and infinity have no place in it and raise `ValueError`."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def finite_or_none(value: float | None) -> float | None:
    """Return a number as JSON has it: None where it is not finite, or not there."""
    return None if value is None or not math.isfinite(value) else float(value)


def read_json(path: PathLike) -> dict[str, Any]:
    """Return the object in a JSON file; `InputError` if the file cannot be read, or holds anything
    but a JSON object without NaN or infinity."""
    text = read_text(path)
    try:
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); delete it and run again") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON; what is not defined is null")


def read_result(path: PathLike, kind: str) -> dict[str, Any]:
    """Return a JSON result as it is, once it is known to hold what its readers need; `InputError`
    names the key that it lacks."""
    data = read_json(path)
    for key in _KEYS[kind].split():
        block: Any = data
        for name in key.split("."):
            if not isinstance(block, dict) or name not in block:
                raise InputError(f"{path}: lacks '{key}'; another version wrote it, make it again")
            block = block[name]
    return data


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


def write_npz(path: PathLike, arrays: Mapping[str, ArrayLike]) -> None:
    """Write arrays as NPZ, whole; `ValueError` of object arrays, which would be pickled."""
    named: dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
    if objects := [key for key, array in named.items() if array.dtype.hasobject]:
        raise ValueError(f"array '{objects[0]}' holds objects, which would be pickled")
    with atomic_write(path) as part, part.open("wb") as handle:
        np.savez(handle, **named)


def is_hdf5(path: PathLike) -> bool:
    """Return whether a file begins as HDF5 does; `InputError` if it is empty or cannot be read."""
    with opened(path) as handle:
        start = handle.read(8)
    if not start:
        raise InputError(f"{path}: is empty; copy or make it again")
    return start == b"\x89HDF\r\n\x1a\n"


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
