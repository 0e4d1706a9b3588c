"""Numbers as reports hold them: finite, or null where they are not defined."""

import math


def defined(value: float | None) -> float | None:
    """Return a finite number; None for NaN and infinity, which have no place in JSON."""
    return value if value is not None and math.isfinite(value) else None


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above / below; None if either is not defined or `below` is not positive."""
    if above is None or below is None or not below > 0:
        return None
    return defined(above / below)


def geometric_mean(values: list[float | None]) -> float | None:
    """Return the geometric mean of positive numbers; None if one is not defined or not positive."""
    known = [value for value in values if value is not None and value > 0]
    if not known or len(known) != len(values):
        return None
    return math.exp(math.fsum(map(math.log, known)) / len(known))
