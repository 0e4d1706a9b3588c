"""Where a result comes from: commit, versions, machine; no host, user or path."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("ptycho-torch", "torch", "numpy", "scipy", "pandas", "scikit-image"),
    *("matplotlib", "snakemake"),
)


def collect_provenance(command: str) -> dict[str, Any]:
    """Return commit, command, versions and platform, all as text or plain numbers.

    Parameters
    ----------
    command
        What makes this summary again.
    """
    return {
        "command": command,
        "commit": commit(Path(__file__)),
        "python": platform.python_version(),
        "platform": platform_name(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def platform_name() -> str:
    """Return operating system, processor family and number of cores."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"


def commit(source: Path) -> str:
    """Return the commit that a source file is tracked in, or "unknown" and the reason.

    A package installed into an environment that lies inside some other repository is not tracked
    there, and that repository's commit is not its own.
    """
    try:
        _git(source, "rev-parse", "--git-dir")
    except FileNotFoundError:
        return "unknown: git is not installed"
    except (OSError, subprocess.SubprocessError):
        return "unknown: not a git checkout"
    try:
        head = _git(source, "rev-parse", "HEAD")
        _git(source, "ls-files", "--error-unmatch", source.name)
        changed = _git(source, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return "unknown: no commit holds this package"
    return f"{head} with uncommitted changes" if changed else head


def _git(source: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=source.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
