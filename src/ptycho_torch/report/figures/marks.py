"""Marks that several figures share: runs as dots and crosses, and failure rates with intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ptycho_torch.runtime.plot_style import COLOURS, INK, REFERENCE
from ptycho_torch.statistics.runs import FailureRate
from ptycho_torch.statistics.scores import Score

BLUE, RED = COLOURS[1], COLOURS[2]


def mark_runs(
    axes: Axes,
    place: float | Sequence[float],
    runs: pd.DataFrame,
    column: str,
    *,
    colours: tuple[str, str] = (BLUE, RED),
    horizontal: bool = False,
) -> None:
    """Draw a dot per successful run, a cross per failed one, a bar at the median of successes.

    Parameters
    ----------
    place
        Where on the axis of the arms: one place, or one a run.
    runs
        The runs of one arm.
    column
        Their values; runs without one are left out.
    colours
        Of dots and of crosses.
    horizontal
        Whether arms are rows, not columns.
    """
    values, failed = runs[column].astype(float).to_numpy(), runs["failed"].to_numpy(bool)
    places, known = np.broadcast_to(place, values.shape), np.isfinite(values)
    for chosen, marker, colour in (
        (known & ~failed, "o", colours[0]),
        (known & failed, "x", colours[1]),
    ):
        ends = (places[chosen], values[chosen])
        x, y = ends[::-1] if horizontal else ends
        axes.plot(x, y, marker, color=colour, alpha=0.8, markersize=5.5, markeredgewidth=1.6)
    good = values[known & ~failed]
    if len(good):
        ends = ([float(np.mean(place))], [float(np.median(good))])
        x, y = ends[::-1] if horizontal else ends
        axes.plot(x, y, "|" if horizontal else "_", color=INK, markersize=14, markeredgewidth=1.5)


def mark_failure_rate(
    axes: Axes, place: float, failed: FailureRate, *, horizontal: bool = False
) -> None:
    """Draw a failure rate with its interval, and its counts beyond it."""
    counts = f"{failed.failures} of {failed.runs}"
    line = ([place, place], [failed.interval.low, failed.interval.high])
    dot = ([place], [failed.rate])
    axes.plot(*(line[::-1] if horizontal else line), color=BLUE, linewidth=1.3)
    axes.plot(*(dot[::-1] if horizontal else dot), "o", color=BLUE, markersize=4.5)
    if horizontal:
        at, system = (1.02, place), ("axes fraction", "data")
        axes.annotate(counts, at, xycoords=system, va="center", fontsize=7.5)
    else:
        at = (place, failed.interval.high)
        axes.annotate(counts, at, ha="center", va="bottom", fontsize=7.5)


def mark_level(axes: Axes, level: float, text: str, line: str = "--") -> None:
    """Draw a reference level across, and name it at its right end."""
    axes.axhline(level, color=REFERENCE, linestyle=line, linewidth=0.8, zorder=0)
    axes.annotate(
        *(text, (1, level)),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=7,
        color=REFERENCE,
    )


def title_of(score: Score) -> str:
    """Return a score's label, and which way is better."""
    return f"{score.label} ({'lower' if score.lower_is_better else 'higher'} is better)"
