"""Numbers and tables as GitHub shows them."""

import math
from collections.abc import Sequence
from typing import Any


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits; "not defined" if there is none."""
    if value is None or math.isnan(value):
        return "not defined"
    if math.isinf(value):
        return "infinite"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e5:
        return f"{value:.{digits - 1}e}"
    # Rounded first, which may carry into the next decade: 0.9996 has three digits as 1.00.
    decade = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:,.{max(digits - 1 - decade, 0)}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def percent(share: float | None) -> str:
    """Return a share as a percentage."""
    if share is None or math.isnan(share):
        return "not defined"
    value = 100 * share
    if 0 < value < 1 or 99 < value < 100:
        return f"{number(value, 2 if value < 1 else 3)} %"
    return f"{value:.0f} %"


def interval_text(interval: Any) -> str:
    """Return an interval of a score as [low, high]."""
    if interval is None:
        return "none"
    return f"[{signed(interval.low)}, {signed(interval.high)}]"


def p_text(p: float | None) -> str:
    """Return a p value."""
    if p is None:
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {number(p, 2)}"


def spread_text(spread: Any, reason: str) -> str:
    """Return median [quartiles] (n), or "not defined" and the reason."""
    if spread.n == 0:
        return f"not defined: {reason}"
    if spread.n == 1:
        return f"{number(spread.median)} (1)"
    return f"{number(spread.median)} [{number(spread.low)}, {number(spread.high)}] ({spread.n})"


def duration(seconds: float | None) -> str:
    """Return a time as people say it."""
    if seconds is None:
        return "not timed"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds, 2)} s"


def plural(count: int, noun: str) -> str:
    """Return "1 run", "2 runs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(items: Sequence[str]) -> str:
    """Return "a, b and c"."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def md(text: object) -> str:
    """Return text as it stands in a line or a cell of Markdown: no markup, no second line."""
    plain = " ".join(str(text).split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
