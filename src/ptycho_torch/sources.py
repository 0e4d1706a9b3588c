"""Which code a stage runs: one list of checksums, so that a job has one input for all of it.

Snakemake looks at every input of every job; with the source files themselves as inputs that was
most of what planning cost (docs/adr/0010). Imported at every parse: no numpy here.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path


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
    package = Path(__file__).parent
    files = [
        *package.glob("*.py"),
        *(f for name in folders for f in (package / name).rglob("*.py")),
    ]
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(f"{_sha256(file)}  {file.relative_to(package).as_posix()}\n".encode())
    return whole.hexdigest()
