"""Mistakes of a user, and how a message names what was found."""

import difflib
from pathlib import Path


def printable(text: str) -> str:
    """Return a text in one line; line breaks and control characters are written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class InputError(ValueError):
    """A user's mistake: a setting or a file that cannot be used, in one line.

    `more`: further mistakes of the same file, an indented line each.
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
    """Return a path as results may name it: of one outside the folder in use, its name alone."""
    parts = Path(path).parts
    outside = Path(path).is_absolute() or ".." in parts or path.startswith("~")
    return Path(path).name if outside else path
