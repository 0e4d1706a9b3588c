"""HDF5 opened and read in one place; what lies in other files is refused."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files.io import as_complex, complex_fields
from ptycho_torch.runtime.disk import PathLike, opened
from ptycho_torch.runtime.errors import InputError

if TYPE_CHECKING:
    import h5py


# A number that was recorded for every frame may differ by this share between them.
_ONE_NUMBER = 0.01


class Hdf5:
    """An open HDF5 file: arrays, numbers and attributes by path; what is not there is None.

    What cannot be read, is of another kind or lies in another file raises `InputError`.
    """

    def __init__(self, source: str, file: "h5py.File"):
        self.source = source
        self._file = file
        self._read: set[Any] = set()  # Objects, the same whatever path leads there.
        self._leads: list[tuple[str, str]] = []

    def numbers(self, first: str, *needed: str) -> list[int]:
        """Return the numbers of the parts that hold a path of these; `first`: path of the first."""
        start = first.rpartition("_")[0]
        group, _, kind = start.rpartition("/")
        words = [name.rpartition("_") for name in self.names(group or "/")]
        found = sorted(int(n) for name, _, n in words if name == kind and n.isdigit())
        return [n for n in found if any(self.has(f"{start}_{n}{part}") for part in needed)]

    def lead(self, first: str, numbers: Sequence[int], requested: int | None) -> str:
        """Let paths that begin with the first of several parts lead to the requested one, else the
        lowest; return a note if there are several, `InputError` if there is no such part."""
        start = first.rpartition("_")[0]
        kind, listed = start.rpartition("/")[2], ", ".join(map(str, numbers))
        chosen = numbers[0] if requested is None else requested
        if chosen not in numbers:
            raise InputError(
                f"{self.source}: has no {kind} {requested}; it has: {listed}; choose one with "
                "--scan-index"
            )
        self._leads.append((self.where(first), self.where(f"{start}_{chosen}")))
        return f"{kind} {chosen} is read, of {listed}" if len(numbers) > 1 else ""

    def where(self, path: str) -> str:
        """Return where a path leads."""
        for start, to in self._leads:
            if path == start or path.startswith(f"{start}/"):
                path = to + path.removeprefix(start)
        return path

    def names(self, path: str = "/") -> list[str]:
        """Return the names in a group; none if there is no such group."""
        with self._found(path) as group:
            return sorted(group) if hasattr(group, "keys") else []

    def has(self, path: str) -> bool:
        """Return whether something is at a path."""
        with self._found(path) as found:
            return found is not None

    def unread(self) -> dict[str, tuple[int, ...]]:
        """Return path and shape of each array that was not read; numbers and texts are left out."""
        left: dict[str, tuple[int, ...]] = {}

        def visit(name: str, found: Any) -> None:
            shape = getattr(found, "shape", ()) or ()
            many = math.prod(shape) > 1 and found.dtype.kind in "fiucbV"
            if many and found not in self._read:
                left[f"/{name}"] = shape

        with contextlib.suppress(Exception):  # A file whose other parts are torn is read as before.
            self._file.visititems(visit)
        return left

    def array(self, path: str) -> NDArray[Any] | None:
        """Return the numbers at a path, a pair of fields for real and imaginary part as complex
        ones; None if nothing is there."""
        with self._found(path) as dataset:
            path = self.where(path)
            if dataset is None:
                return None
            dtype = getattr(dataset, "dtype", None)
            if dtype is None or not (dtype.kind in "fiucb" or complex_fields(dtype)):
                kind = dtype or "a group"
                raise InputError(f"{self.source}: {path} is {kind}, expected an array of numbers")
            self._read.add(dataset)
            return as_complex(np.asarray(dataset[()]))

    def factor(self, path: str, units: Mapping[str, float]) -> float | None:
        """Return what an array's unit is worth, as its attribute has it; None if it has none,
        `InputError` if it is none of `units`, which are in lower case and of one."""
        with self._found(path) as found:
            known = {} if found is None else found.attrs
            unit: Any = next(
                (known[n] for n in ("units", "Units", "unit", "Unit") if n in known), ""
            )
        if isinstance(unit, np.ndarray) and unit.size and (unit == unit.flat[0]).all():
            unit = unit.flat[0]
        if isinstance(unit, bytes):
            try:
                unit = unit.decode("utf-8")
            except UnicodeDecodeError:
                unit = unit.decode("latin-1")
        # An empty attribute has no shape at all.
        unit = "" if getattr(unit, "shape", ()) is None else str(unit).strip()
        word = unit.lower().replace("\u03bc", "\u00b5")
        word = word if word in units else word.removesuffix("s")
        if unit and word not in units:
            usual = ", ".join(name for name in units if len(name) < 4)
            raise InputError(
                f"{self.source}: {self.where(path)} is in units '{unit}', which are not known "
                f"here; expected one of {usual}: mend the attribute"
            )
        return units[word] if unit else None

    def number(
        self, path: str, units: Mapping[str, float] | None = None, notes: list[str] | None = None
    ) -> float | None:
        """Return one finite number, in SI by its attribute where `units` are given; of one that was
        written for every frame the median, whose spread is noted."""
        array = self.array(path)
        if array is None:
            return None
        where, values = self.where(path), array.ravel()
        real = values.size and values.dtype.kind in "fiu" and np.isfinite(values).all()
        middle = float(np.median(values)) if real else 0.0
        spread = float(np.ptp(values.astype(np.float64))) if real else 0.0
        if not real or spread > _ONE_NUMBER * abs(middle):
            came = array.tolist() if array.size < 4 else f"{array.shape} {array.dtype}"
            came = f"{came}, {values.min():g} to {values.max():g}" if real else came
            raise InputError(f"{self.source}: {where} is {came}, expected one finite number")
        if spread and notes is not None:
            notes.append(
                f"{where} varies by {spread / abs(middle):.2g} of its median over the frames: the "
                "median is taken"
            )
        return middle * (1.0 if units is None else self.factor(path, units) or 1.0)

    @contextlib.contextmanager
    def _found(self, path: str) -> Iterator[Any]:
        path = self.where(path)
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
                "file again; a filter that is missing comes with: pip install hdf5plugin"
            ) from None


@contextlib.contextmanager
def open_hdf5(path: PathLike) -> Iterator[Hdf5]:
    """Open an HDF5 file to read; `InputError` if it is missing, truncated or no HDF5 file."""
    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 (registers the usual filters)
    opened(path).close()  # What cannot be opened at all has the reason in plain words.
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: is no whole HDF5 file ({_first_line(error)}); copy or make it again; if "
            f"another program writes it, wait, and if that has died: h5clear -s {path}"
        ) from None
    with file:
        yield Hdf5(str(path), file)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
