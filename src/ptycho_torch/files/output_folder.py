"""A folder that a command writes its results into: never over another's."""

import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptycho_torch.runtime.disk import write_error
from ptycho_torch.runtime.errors import InputError


def claim(folder: str | Path, **rules: Any) -> Path:
    """Return the folder, made and free for results; takes and raises what `must_be_free` does.

    The mark of earlier results is removed: torn ones that replace them never look finished.
    """
    folder = must_be_free(folder, **rules)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / rules["mark"]).unlink(missing_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None
    return folder


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

    mark: the file that is written last; files: all that the command writes there, which
    `overwrite` lets it replace; state: the file from which an unfinished run resumes. A folder that
    has it, or one set aside for another run (`resume-*.ckpt` for `resume.ckpt`), but not the mark,
    and nothing besides `files`, is free for the same run.
    """
    folder = Path(folder)
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise InputError(f"{folder}: {place} is no folder; give a folder for the results")
    # Locks and what a killed process left half-written begin with a dot.
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    found = sorted(name for name in names if not name.startswith("."))
    states = [] if state is None else fnmatch.filter(found, state.replace(".", "*."))
    resumes = states and mark not in found and set(found) <= {*states, *files}
    if found and not overwrite and not resumes:
        known = set(found) & set(files)
        what = "a finished run" if mark in found else "an unfinished run" if known else "files"
        raise InputError(
            f"{folder}: holds {what} ({', '.join(found[:3])}); give another folder, or --overwrite "
            f"to replace {', '.join(files[:3])} ... in it"
        )
    return folder
