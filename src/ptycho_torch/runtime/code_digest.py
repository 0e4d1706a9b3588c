"""Which code a stage runs: one list of checksums, so that a job has one input for all of it.

Snakemake looks at every input of every job; with the source files themselves as inputs that was
most of what planning cost (docs/adr/0010). What is on a list follows from the imports
(docs/adr/0011). Imported at every parse: no numpy here.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

NAME = "ptycho_torch"
# What a module may read from its own folder.
_BESIDE = (".html", ".css", ".js", ".j2")
# Found by pattern: parsing two hundred files would take longer than all else at a call. A block
# of `if TYPE_CHECKING:` is for mypy and never runs.
_FOR_MYPY = re.compile(r"^([ \t]*)if TYPE_CHECKING:\n(?:\1[ \t]+.*\n|[ \t]*\n)+", re.M)
_IMPORT = re.compile(rf"^[ \t]*import ({NAME}[\w.]*)", re.M)
_FROM = re.compile(rf"^[ \t]*from ({NAME}[\w.]*) import (\([^)]*\)|.*)", re.M)


def code_behind(script: Path, package: Path) -> list[Path]:
    """Return a script and every file of the package that it imports, directly or through others.

    Imports inside functions count, and the `__init__.py` of each folder on the way. Beside a
    module count the page's own files, which no import names.

    Parameters
    ----------
    package
        Folder of the package.
    """
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported(file, package)
    for folder in {module.parent for module in found - {script}}:
        found.update(_beside(folder))
    return [script, *sorted(found - {script})]


@cache
def _imported(file: Path, package: Path) -> frozenset[Path]:
    text = _FOR_MYPY.sub("", file.read_text(encoding="utf-8"))
    names = {match[1] for match in _IMPORT.finditer(text)}
    for module, listed in _FROM.findall(text):
        words = re.findall(r"\w+", re.sub(r"#.*", "", listed))
        names |= {module, *(f"{module}.{word}" for word in words)}
    modules = _modules(package)
    return frozenset(
        modules[above] for name in names for above in _with_those_above(name) if above in modules
    )


@cache
def _modules(package: Path) -> dict[str, Path]:
    """Return the file of each module by its dotted name; of a folder, its `__init__.py`."""
    named = {}
    for file in package.rglob("*.py"):
        parts = file.relative_to(package.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return named


def _with_those_above(name: str) -> Iterator[str]:
    """Yield a.b.c, a.b and a: importing the first runs all three."""
    while name:
        yield name
        name = name.rpartition(".")[0]


@cache
def _beside(folder: Path) -> tuple[Path, ...]:
    files = [*folder.iterdir(), *folder.glob("templates/*")]
    return tuple(file for file in files if file.suffix in _BESIDE)


def keep_list(path: Path, files: Iterable[Path], *, root: Path) -> None:
    """Write `path` as `sha256sum` writes it, unless it says the same already.

    A list that stays keeps its date: after a mere touch of a source, or in a fresh clone beside
    kept results, nothing looks newer than it is.

    Parameters
    ----------
    files, root
        The sources, and the folder that their names in the list are relative to.
    """
    text = "".join(f"{_sha256(file)}  {file.relative_to(root).as_posix()}\n" for file in files)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent, text=True)
    with os.fdopen(handle, "w", encoding="utf-8") as written:
        written.write(text)
    Path(part).chmod(0o644)
    Path(part).replace(path)


@cache
def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def digest_of_code(*folders: str) -> str:
    """Return the SHA-256 of the package's code in some folders and beside them, in hexadecimal."""
    package = Path(__file__).parents[1]
    files = [
        *package.glob("*.py"),
        *(f for name in folders for f in (package / name).rglob("*.py")),
    ]
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(f"{_sha256(file)}  {file.relative_to(package).as_posix()}\n".encode())
    return whole.hexdigest()
