"""Which code a stage runs: one list of checksums, so that a job has one input for all of it.

Snakemake looks at every input of every job; with the source files themselves as inputs that was
most of what planning cost. What is on a list follows from the imports (docs/adr/0010). Imported at
every parse: no numpy here.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ptycho_torch.runtime.disk import atomic_write

NAME = "ptycho_torch"
PACKAGE = Path(__file__).parents[1]
# What a module may read from its own folder.
_BESIDE = (".html", ".css", ".js", ".j2")
# Found by pattern: parsing all files would take longer than all else at a call.
_IMPORT = re.compile(rf"^[ \t]*(?:from|import) ({NAME}[\w.]*)(?: import (\([^)]*\)|.*))?", re.M)


def code_behind(script: Path, package: Path = PACKAGE) -> list[Path]:
    """Return a script and every file of the package that it imports, directly or through others.

    Imports inside functions count, and the `__init__.py` of each folder on the way, and the
    templates, styles and scripts beside a module, which no import names.
    """
    found, new = set[Path](), {script}
    while new:
        found |= new
        new = set[Path]().union(*(_imported(file, package) for file in new)) - found
    beside = (_beside(folder) for folder in {module.parent for module in found - {script}})
    return [script, *sorted(found.union(*beside) - {script})]


@cache
def _imported(file: Path, package: Path) -> frozenset[Path]:
    names = set()
    for module, listed in _IMPORT.findall(file.read_text(encoding="utf-8")):
        words = re.findall(r"\w+", re.sub(r"#.*", "", listed))
        names |= {module, *(f"{module}.{word}" for word in words)}
    # Importing a.b.c runs a and a.b as well.
    runs = {tuple(n.split(".")[:k]) for n in names for k in range(1, n.count(".") + 2)}
    places = [package.parent.joinpath(*parts) for parts in runs]
    files = {f for place in places for f in (place.with_suffix(".py"), place / "__init__.py")}
    return frozenset(filter(Path.is_file, files))


@cache
def _beside(folder: Path) -> tuple[Path, ...]:
    files = [*folder.iterdir(), *folder.glob("templates/*")]
    return tuple(file for file in files if file.suffix in _BESIDE)


def keep_text(path: Path, text: str) -> None:
    """Write a text unless `path` has it; a file that stays keeps its date: after a mere touch of a
    source, or in a fresh clone beside kept results, nothing looks newer."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as part:
            part.write_text(text, encoding="utf-8")


@cache
def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def listing(files: Iterable[Path], root: Path) -> str:
    """Return the checksums of files under `root`, as `sha256sum` writes and checks them."""
    return "".join(f"{_sha256(file)}  {file.relative_to(root).as_posix()}\n" for file in files)
