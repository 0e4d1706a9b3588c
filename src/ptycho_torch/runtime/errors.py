"""Mistakes of a user, and how a message names what was found."""

import difflib
from pathlib import Path

# A name in a file may be as long as the file; a line is for people.
_LONGEST_LINE = 3000


def printable(text: str) -> str:
    """Return a text in one line that does nothing to a terminal or a log, whatever is in it.

    Line breaks, control characters, what changes the direction of writing and half characters
    are written as Python writes them, and the middle of a very long text is left out.
    """
    if len(text) > _LONGEST_LINE:
        text = f"{text[: _LONGEST_LINE // 2]} ... {text[-_LONGEST_LINE // 2 :]}"
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


class InputError(ValueError):
    """A user's mistake: a setting or a file that cannot be used, said in one line.

    `more`: further mistakes of the same file, an indented line each. Names from files are in
    these lines, so what is not printable is written out.
    """

    def __init__(self, message: object = "", *more: object):
        super().__init__("\n  ".join(printable(str(line)) for line in (message, *more)))


def nearest(word: str, choices: list[str]) -> str:
    """Return ", did you mean 'x'?" for the closest choice, or the list of choices."""
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; it has: {', '.join(sorted(choices))}"


def shown_path(path: str) -> str:
    """Return a path as results may name it: of one outside the folder in use, its name alone.

    An absolute path says who ran a study and on which machine; `../../home/...` does as well.
    """
    parts = Path(path).parts
    outside = Path(path).is_absolute() or ".." in parts or path.startswith("~")
    return Path(path).name if outside else path
