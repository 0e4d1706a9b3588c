"""Where a result comes from: commit, versions, machine; no host, user or path."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from ptycho_torch import __version__

_CHANGED = " with uncommitted changes"
_PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-image", "matplotlib", "snakemake")


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
