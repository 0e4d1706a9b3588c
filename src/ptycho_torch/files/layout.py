"""Which layout a folder of results has: one of another version is refused, not mixed or lost.

A later version makes anew what its code has changed. Over the results of an older layout that would
quietly throw away what took days, so these are named and left alone. Imported at every parse: no
numpy here.
"""

import logging
import os
import tempfile
from pathlib import Path

from ptycho_torch.runtime.errors import InputError, printable
from ptycho_torch.runtime.regular_file import opened

logger = logging.getLogger(__name__)

LAYOUT = "ptycho-torch results 1"
"""Raised where a file of a study moves, or means something else (docs/files.md)."""

MARK = "layout.txt"
_LONGEST_MARK = 10_000
_MADE_BY_JOBS = ("simulate", "train", "evaluate", "stage_a")


def check_layout(results: Path) -> None:
    """Leave the mark of this version's layout in a folder of results, new or its own.

    A folder without a mark is new if it holds no job's results. If it has lists of code
    (`sources/`), it was made before there was a mark, by this very layout, and is taken over.

    Raises
    ------
    InputError
        If the folder's layout is another one, or the mark cannot be written. Nothing is touched.
    """
    if os.path.lexists(results) and not results.is_dir():
        raise InputError(f"{results}: is no folder, as results need; move it away")
    mark = results / MARK
    if mark.exists():
        found = _read(mark)
        if found == LAYOUT:
            return
        raise InputError(
            f"{results}: is of the layout {found!r}, this version makes '{LAYOUT}'; use the "
            f"version that made it, or let it be (mv {results} {results}-other) and start anew"
        )
    made = [name for name in _MADE_BY_JOBS if (results / name).exists()]
    if made and not (results / "sources").exists():
        raise InputError(
            f"{results}: holds {made[0]}/ of an older version (no {MARK}), which this one would "
            f"make again from nothing; keep it (mv {results} {results}-old) and start anew, or, if "
            f"its files are those of docs/files.md, take it over: echo '{LAYOUT}' > {mark}"
        )
    if made:
        logger.warning("%s: has no %s and is taken over as '%s'", results, MARK, LAYOUT)
    try:
        _write(mark, f"{LAYOUT}\n")
    except OSError as error:
        raise InputError(f"{mark}: cannot be written: {error.strerror}") from None


def _read(mark: Path) -> str:
    with opened(mark, _LONGEST_MARK) as stream:
        text = stream.read().decode("utf-8", errors="replace")
    return printable(text.strip())[:80]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent, text=True)
    with os.fdopen(handle, "w", encoding="utf-8") as written:
        written.write(text)
    Path(part).chmod(0o644)
    Path(part).replace(path)
