"""Which layout a folder of results has: one of another version is refused, not mixed or lost.

Made anew over the results of an older layout, a study would quietly throw away what took days.
Imported at every parse: no numpy here.
"""

from pathlib import Path

from ptycho_torch.runtime.disk import atomic_write, read_text
from ptycho_torch.runtime.errors import InputError

LAYOUT = "ptycho-torch results 1"
"""Raised where a file of a study moves, or means something else (docs/reference/files.md)."""

MARK = "layout.txt"
_MADE_BY_JOBS = ("simulate", "train", "evaluate", "stage_a")


def check_layout(results: Path) -> None:
    """Leave the mark of this version's layout in a folder of results, new or its own; `InputError`,
    with nothing touched, if the folder's layout is another one."""
    mark = results / MARK
    if mark.exists():
        found = read_text(mark).strip()
        if found != LAYOUT:
            raise InputError(
                f"{results}: is of the layout '{found:.80}', this version makes '{LAYOUT}'; use "
                f"the version that made it, or let it be (mv {results} {results}-other)"
            )
        return
    present = [name for name in _MADE_BY_JOBS if (results / name).exists()]
    if present:
        raise InputError(
            f"{results}: holds {present[0]}/ of an older version (no {MARK}), which this one would "
            f"make again from nothing; keep it (mv {results} {results}-old) and start anew, or, if "
            f"its files are as in docs/reference/files.md, take it over: echo '{LAYOUT}' > {mark}"
        )
    with atomic_write(mark) as part:
        part.write_text(f"{LAYOUT}\n", encoding="utf-8")
