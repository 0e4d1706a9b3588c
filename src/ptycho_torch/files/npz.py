"""NPZ read without unpickling; it may be packed by bzip2."""

import bz2
import math
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.runtime.disk import PathLike, opened
from ptycho_torch.runtime.errors import InputError

_PARTS = (("real", "imag"), ("real", "imaginary"), ("r", "i"), ("re", "im"))


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
    found, present = read_npz_known(path, *keys)
    for key in keys:
        if key not in found:
            raise InputError(f"{path}: has no array '{key}'; it has: {', '.join(present)}")
    return found


def read_npz_known(
    path: PathLike, *keys: str, optional: Collection[str] = ()
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return those of the named arrays (all if none is named) that an NPZ file has, and the names
    of all it has; those that are `optional` are left out where they are pickled. Raises as
    `read_npz`."""
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
