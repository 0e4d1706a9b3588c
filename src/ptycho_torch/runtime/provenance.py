"""What made a result: commit, versions, machine (no host, user or path), and the code of a stage.

Of the code there is one list of checksums, so that a job has one input for all of it: Snakemake
looks at every input of every job. What is on a list follows from the imports (docs/adr/0010).
Imported at every parse: no numpy here.
"""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from ptycho_torch import __version__
from ptycho_torch.runtime.disk import write_text

_CHANGED = " with uncommitted changes"
_PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-image", "matplotlib", "snakemake")
NAME = "ptycho_torch"
PACKAGE = Path(__file__).parents[1]
# What a module may read from its own folder.
_BESIDE = (".html", ".css", ".js", ".j2")
# Found by pattern: parsing all files would take longer than all else at a call.
_IMPORT = re.compile(rf"^[ \t]*(?:from|import) ({NAME}[\w.]*)(?: import (\([^)]*\)|.*))?", re.M)


def collect_provenance(command: str) -> dict[str, Any]:
    """Return commit, versions and platform, beside the command that makes a summary again."""
    return {
        "command": command,
        "commit": commit(Path(__file__)),
        "python": platform.python_version(),
        "platform": platform_name(),
        # Ours from the package itself: it need not be installed to run.
        "versions": {"ptycho-torch": __version__} | {n: metadata.version(n) for n in _PACKAGES},
    }


def versions(*modules: ModuleType) -> dict[str, str]:
    """Return the versions of this package and of modules, by name."""
    return {"ptycho_torch": __version__} | {one.__name__: one.__version__ for one in modules}


def platform_name() -> str:
    """Return operating system, processor family and number of cores."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"


def commit(source: Path) -> str:
    """Return the commit that a source file is tracked in, or "unknown" and the reason."""
    # A package installed into an environment inside some other repository is not tracked there.
    tracked = ["git", "ls-files", "--error-unmatch", source.name]
    head = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", f"--dirty={_CHANGED}"]
    how: Any = {"capture_output": True, "text": True, "check": True, "timeout": 20}
    try:
        subprocess.run(tracked, cwd=source.parent, **how)
        return subprocess.run(head, cwd=source.parent, **how).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown: no commit holds this package"


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
        write_text(path, text)


@cache
def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def listing(files: Iterable[Path], root: Path) -> str:
    """Return the checksums of files under `root`, as `sha256sum` writes and checks them."""
    return "".join(f"{_sha256(file)}  {file.relative_to(root).as_posix()}\n" for file in files)
