"""What the figures share: how arms look, panels, how they are saved; no global state of pyplot."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ptycho_torch.runtime.disk import PathLike, atomic_write

DPI = 110
PALE = "#c8c8c8"
INK = "#333333"
REFERENCE = "#767676"

# Okabe and Ito (2008), told apart by all kinds of colour vision; its yellow is too pale for lines.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
RPIE = "#882255"
"""rPIE's own colour, which no arm has."""
Look = dict[str, Any]
"""How an arm is drawn, in every figure: keywords of matplotlib's lines."""
# Beyond the palette lines are broken and markers hollow.
_LOOKS: list[Look] = [
    {"color": colour, "linestyle": line, "fillstyle": fill}
    for line, fill in (("-", "full"), ("--", "none"), (":", "none"))
    for colour in COLOURS
]
_MARKERS = "os^Dv*P"
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "legend.frameon": False,
    # Ids in an SVG are random without a salt; with one the same figure has the same bytes.
    "svg.hashsalt": "ptycho-torch",
    "svg.fonttype": "path",
}


def arm_looks(
    names: Iterable[str], arms: Iterable[str], bases: Mapping[str, str] | None = None
) -> dict[str, Look]:
    """Return how each name of a figure is drawn: by its arm's place among all `arms` of the study,
    and with a marker of its own where an arm has several. bases: the arm of other names."""
    found, places, before = {}, list(arms), Counter[int]()
    for name in names:
        place = places.index((bases or {}).get(name, name))
        marker = _MARKERS[before[place] % len(_MARKERS)]
        found[name] = _LOOKS[place % len(_LOOKS)] | {"marker": marker}
        before[place] += 1
    return found


def on_lines(name: str, letters: int = 28) -> str:
    """Return the name of a variant on lines of so many letters, broken behind its hyphens."""
    return "\n".join(wrap(name.replace("-", "- "), letters)).replace("- ", "-")


def styled() -> Any:
    """Return a context in which figures are made and saved in the style of the summaries."""
    return mpl.rc_context(_STYLE)  # type: ignore[arg-type]


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return a figure of this size, inches, that keeps its parts from overlapping."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI)
    figure.set_layout_engine("constrained", h_pad=0.08)
    return figure


def arm_panels(
    arms: Sequence[str],
    below: str,
    left: str,
    columns: int = 4,
    sharey: Literal["all", "row"] = "all",
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with one panel per arm, so many in a row, on common axes, whose labels are
    below each column and left of each row; what is below, such as epochs, are whole numbers."""
    columns = min(len(arms), columns)
    rows = -(-len(arms) // columns)
    figure = new_figure(max(2.3 * columns, 6.9), 2.5 * rows + 0.3)
    grid = figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False)
    for axes in grid[:, 0]:
        axes.set_ylabel(left)
    panels = grid.ravel()
    for spare in panels[len(arms) :]:
        spare.remove()
    for axes in panels[: len(arms)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(below)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
    return figure, dict(zip(arms, panels, strict=False))


def draw_images(
    figure: Figure, block: Any, images: Mapping[str, Any], label: str, **scale: Any
) -> None:
    """Draw images (Y, X), by title, in a block of axes on one scale, with its bar beside them."""
    for axes in block.flat:
        axes.set_axis_off()
    for axes, (title, image) in zip(block.flat, images.items(), strict=False):
        drawn = axes.imshow(image, interpolation="nearest", **scale)
        axes.set_title(title, fontsize=8)
        if not np.isfinite(image).any():
            axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    figure.colorbar(drawn, ax=block, label=label, fraction=0.03, pad=0.01, extend="both")


def use_log_scale(axes: Axes, which: Literal["x", "y"] = "y") -> None:
    """Give an axis with all its lines a log scale, with two plain numbers or more."""
    axes.set(**{f"{which}scale": "log"})
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    subs = [1.0] if high > 1e3 * low else [1, 2, 5] if high > 10 * low else [1, 1.5, 2, 3, 5, 7]
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def save(figure: Figure, folder: PathLike, name: str) -> None:
    """Write `name.png` and `name.svg`, whole and undated: the same input, the same bytes."""
    for ending, metadata in (("png", {}), ("svg", {"Date": None})):
        with atomic_write(Path(folder) / f"{name}.{ending}") as part:
            figure.savefig(part, metadata=metadata)
        # The layout is found; finding it again for the other format would cost as much as drawing.
        figure.set_layout_engine("none")
