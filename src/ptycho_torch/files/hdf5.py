"""HDF5 opened, read and written in one place; what lies in other files is refused."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files.npz import most_unpacked
from ptycho_torch.runtime.disk import PathLike, atomic_write, size_of
from ptycho_torch.runtime.errors import InputError

if TYPE_CHECKING:
    import h5py


class Hdf5:
    """An open HDF5 file: arrays, numbers and text by path; what is not there is None.

    What cannot be read, is of another kind or lies in another file raises `InputError`.
    """

    def __init__(self, source: str, file: "h5py.File", size: int):
        self.source = source
        self._file = file
        self._size = size

    def names(self) -> list[str]:
        """Return the names at the root."""
        return sorted(self._file)

    def array(self, path: str) -> NDArray[Any] | None:
        """Return the numbers at a path; None if nothing is there."""
        with self._found(path) as dataset:
            if dataset is None:
                return None
            if not hasattr(dataset, "dtype") or dataset.dtype.kind not in "fiucb":
                kind = getattr(dataset, "dtype", "a group")
                raise InputError(f"{self.source}: {path} is {kind}, expected an array of numbers")
            if dataset.nbytes > most_unpacked(self._size):
                raise InputError(
                    f"{self.source}: {path} claims {dataset.shape} {dataset.dtype}, "
                    f"{dataset.nbytes} bytes, in a file of {self._size}"
                )
            return np.asarray(dataset[()])

    def number(self, path: str) -> float | None:
        """Return one finite number, also where it is repeated for every frame."""
        array = self.array(path)
        if array is None:
            return None
        values = np.unique(array)
        if values.size != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values[0]):
            came = array.tolist() if array.size < 4 else f"{array.shape} values"
            raise InputError(f"{self.source}: {path} is {came}, expected one finite number")
        return float(values[0])

    def text(self, path: str) -> str | None:
        """Return a text; None if nothing is there, or no text."""
        with self._found(path) as dataset:
            return _as_text(dataset[()]) if hasattr(dataset, "dtype") else None

    def attribute(self, path: str, *names: str) -> Any:
        """Return the first of these attributes that an array or group has; None if none."""
        with self._found(path) as found:
            values = (found.attrs[n] for n in names if found is not None and n in found.attrs)
            value = next(values, None)
            return value if _as_text(value) is None else _as_text(value)

    @contextlib.contextmanager
    def _found(self, path: str) -> Iterator[Any]:
        try:
            found = self._file.get(path)
            elsewhere = getattr(found, "external", None) or getattr(found, "is_virtual", False)
            if found is not None and (elsewhere or found.file.filename != self._file.filename):
                raise InputError(
                    f"{self.source}: {path} is stored in another file, which is not opened; copy "
                    "the data into one file"
                )
            yield found
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"{self.source}: {path} cannot be read ({_first_line(error)}); copy or make the "
                "file again"
            ) from None


@contextlib.contextmanager
def open_hdf5(path: PathLike) -> Iterator[Hdf5]:
    """Open an HDF5 file to read; `InputError` if it is missing, truncated or no HDF5 file."""
    import h5py

    size = size_of(path)
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
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
    """Write an HDF5 file, whole; large arrays are compressed.

    Each is by path in the file: values are arrays, numbers or texts, links the paths that soft
    links lead to.
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
