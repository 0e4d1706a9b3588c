"""A folder that a command writes its results into: never over another's."""

import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path

from ptycho_torch.runtime.errors import InputError


def must_be_free(
    folder: str | Path,
    *,
    mark: str,
    files: Sequence[str],
    overwrite: bool,
    state: str | None = None,
) -> Path:
    """Return the folder once it is known to be free for results; `InputError` if it holds files and
    may not be used, or is none. Nothing is made or touched.

    mark: the file that is written last, and to be removed before the first: torn results that
    replace others never look finished; files: all that the command writes there, which `overwrite`
    lets it replace; state: pattern of the files from which unfinished runs resume: a folder that
    has one, but not the mark, and nothing besides `files`, is free.
    """
    folder = Path(folder)
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise InputError(f"{folder}: {place} is no folder; give a folder for the results")
    # Locks and what a killed process left half-written begin with a dot.
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    found = sorted(name for name in names if not name.startswith("."))
    states = set(fnmatch.filter(found, state or ""))
    resumes = states and mark not in found and set(found) <= {*states, *files}
    if found and not overwrite and not resumes:
        what = "a finished run" if mark in found else "files"
        raise InputError(
            f"{folder}: holds {what} ({', '.join(found[:3])}); give another folder, or --overwrite "
            f"to replace {', '.join(files[:3])} ... in it"
        )
    return folder
