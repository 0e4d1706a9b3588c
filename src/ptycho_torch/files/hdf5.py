"""The part of `io` for HDF5: opened, read and written in one place, and no other file is touched.

Soft links are followed inside the file. External links, datasets stored in other files and
virtual ones are refused: a file of measurements must not make this program read another.
"""

import contextlib
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files.hdf5_screen import little_room, probe_hdf5
from ptycho_torch.files.io import PathLike, atomic_write
from ptycho_torch.files.npz import most_unpacked
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.regular_file import size_of

if TYPE_CHECKING:
    import h5py

LARGEST = 32 * 2**30
"""Bytes that one array may claim: a small file can claim petabytes that were never written."""

# What h5py raises on a damaged file, at any step.
_UNREADABLE = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError),
    *(ValueError, zlib.error),
)
_MOST_LINKS = 20
_DEFLATE, _MOST_DEFLATED = 1, 1100
"""Number of the filter gzip, and how many times as large it can make its input."""
_LONGEST_TEXT = 2**16
"""Bytes of a text or an attribute."""


class Hdf5:
    """An open HDF5 file: arrays, numbers and text by path; what is not there is None."""

    def __init__(self, source: str, file: "h5py.File", size: int):
        self.source = source
        self._file = file
        self._size = size

    def names(self, path: str = "/") -> list[str]:
        """Return the names in a group, none if there is no such group."""
        found = self._find(path)
        with self._readable(path), little_room():
            return sorted(found) if hasattr(found, "keys") else []

    def array(self, path: str) -> NDArray[Any] | None:
        """Return the numbers at a path; None if nothing is there.

        Raises
        ------
        InputError
            If they are in another file, cannot be read, or are no numbers.
        """
        dataset = self._find(path)
        if dataset is None:
            return None
        with self._readable(path):
            self._check_claim(path, dataset)
            return np.asarray(dataset[()])

    def _check_claim(self, path: str, dataset: Any) -> None:
        """Refuse what is no array of numbers, or claims more than the file can hold."""
        if not hasattr(dataset, "dtype"):
            raise InputError(f"{self.source}: {path} is a group, expected an array")
        if dataset.dtype.kind not in "fiucb" or dataset.shape is None:
            raise InputError(f"{self.source}: {path} has type {dataset.dtype}, expected numbers")
        chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
        most = min(LARGEST, most_unpacked(self._size))
        if max(dataset.nbytes, chunk) > most:
            raise InputError(
                f"{self.source}: {path} claims {dataset.shape} {dataset.dtype}, "
                f"{max(dataset.nbytes, chunk) / 2**30:.3g} GiB; at most {most / 2**30:.3g} GiB are "
                f"read from a file of {self._size} bytes"
            )
        if dataset.chunks:
            self._check_chunks(path, dataset, chunk)

    def _check_chunks(self, path: str, dataset: Any, size: int) -> None:
        """Refuse a chunk that unpacks to more than it should hold: the filter would not stop."""
        plan = dataset.id.get_create_plist()
        filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
        if filters.count(_DEFLATE) > 1:
            raise InputError(f"{self.source}: {path} is compressed twice; mend it by h5repack")
        large: list[Any] = []

        def look(stored: Any) -> None:
            if stored.size > size + size // 8 + _LONGEST_TEXT:
                large.append(None)
            elif stored.size * _MOST_DEFLATED > most_unpacked(0) and not stored.filter_mask:
                large.append(stored.chunk_offset)

        if filters:
            dataset.id.chunk_iter(look)
        for offset in large:
            packed = b"" if offset is None else dataset.id.read_direct_chunk(offset)[1]
            unpacker = zlib.decompressobj()
            if offset is None or (
                _DEFLATE in filters and len(unpacker.decompress(packed, size + 16)) > size + 8
            ):
                raise InputError(
                    f"{self.source}: {path} has a chunk that unpacks to more than its {size} bytes"
                )

    @contextlib.contextmanager
    def _readable(self, path: str) -> Iterator[None]:
        """Say in one line what a damaged file makes h5py raise."""
        try:
            yield
        except InputError:
            raise
        except _UNREADABLE as error:
            raise InputError(
                f"{self.source}: {path} cannot be read ({_first_line(error)}); copy or make the "
                "file again"
            ) from None

    def number(self, path: str) -> float | None:
        """Return one finite number; None if nothing is there.

        Raises
        ------
        InputError
            If it is no single finite number.
        """
        array = self.array(path)
        if array is None:
            return None
        # One value for every frame, all the same, is one number as well.
        values = np.unique(array)
        if values.size != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values[0]):
            came = array.tolist() if array.size < 4 else f"{array.shape} values"
            raise InputError(f"{self.source}: {path} is {came}, expected one finite number")
        return float(values[0])

    def text(self, path: str) -> str | None:
        """Return a text; None if nothing is there, or no text."""
        dataset = self._find(path)
        with self._readable(path), little_room():
            if not hasattr(dataset, "dtype") or dataset.nbytes > _LONGEST_TEXT:
                return None
            return _as_text(dataset[()])

    def attribute(self, path: str, *names: str) -> Any:
        """Return the first of these attributes that an array or group has; None if none."""
        found = self._find(path)
        with self._readable(path), little_room():
            for name in names:
                if found is None or name not in set(found.attrs):
                    continue
                if found.attrs.get_id(name).get_storage_size() > _LONGEST_TEXT:
                    raise InputError(f"{self.source}: {path}: the attribute '{name}' is too large")
                value = found.attrs[name]
                return _as_text(value) if _as_text(value) is not None else value
        return None

    def _find(self, path: str) -> Any:
        """Return what is at a path, link by link; an index that grows without end is an error."""
        with little_room():
            return self._followed(path)

    def _followed(self, path: str) -> Any:
        import h5py

        parts, followed = [part for part in path.split("/") if part], 0
        group: Any = self._file
        while parts:
            name = parts.pop(0)
            if not isinstance(group, h5py.Group):
                return None
            try:
                # Only what the child went through is asked for: a damaged index may be a circle
                # for a name that is not in it.
                link = group.get(name, getlink=True) if name in set(group) else None
            except _UNREADABLE:
                return None
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink):
                raise InputError(
                    f"{self.source}: {path} is a link into another file, '{link.filename}', which "
                    "is not followed; copy the data into one file (h5repack --merge)"
                )
            if isinstance(link, h5py.SoftLink):
                followed += 1
                if followed > _MOST_LINKS:
                    raise InputError(f"{self.source}: {path} is a chain of links without an end")
                target = [part for part in link.path.split("/") if part]
                parts = target + parts
                group = self._file if link.path.startswith("/") else group
                continue
            try:
                group = group[name]
            except _UNREADABLE as error:
                raise InputError(
                    f"{self.source}: {path} cannot be opened ({_first_line(error)})"
                ) from None
        with self._readable(path):
            elsewhere = isinstance(group, h5py.Dataset) and (group.external or group.is_virtual)
        if elsewhere:
            raise InputError(
                f"{self.source}: {path} is stored in other files, which are not opened; copy the "
                "data into one file"
            )
        return group


@contextlib.contextmanager
def open_hdf5(path: PathLike) -> Iterator[Hdf5]:
    """Open an HDF5 file to read.

    Raises
    ------
    InputError
        If it is missing, truncated or no HDF5 file.
    """
    import h5py

    size = size_of(path)
    probe_hdf5(path)
    try:
        file = h5py.File(path, "r")
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: is no whole HDF5 file ({_first_line(error)}); copy or make it again"
        ) from None
    with file:
        yield Hdf5(str(path), file, size)


def write_hdf5(
    path: PathLike,
    values: Mapping[str, Any],
    *,
    links: Mapping[str, str],
    attributes: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write an HDF5 file, whole.

    Parameters
    ----------
    values
        Path in the file to an array, a number or a text; large arrays are compressed.
    links
        Path in the file to the path that it is a soft link to.
    attributes
        Path in the file to its attributes.
    """
    import h5py

    with atomic_write(path) as part, h5py.File(part, "w") as file:
        for name, value in values.items():
            large = isinstance(value, np.ndarray) and value.size > 1000
            # Without times in it, equal content gives equal bytes.
            file.create_dataset(
                name, data=value, compression="gzip" if large else None, track_times=False
            )
        for name, target in links.items():
            file[name] = h5py.SoftLink(target)
        for name, attrs in attributes.items():
            file[name].attrs.update(attrs)


def _as_text(value: Any) -> str | None:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str) else None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
