"""What the figures share: colours, panels and how they are saved; no global state of pyplot."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ptycho_torch.runtime.disk import PathLike, atomic_write

DPI = 110
PALE = "#c8c8c8"
INK = "#333333"
REFERENCE = "#767676"

# Okabe and Ito (2008), told apart by all kinds of colour vision; its yellow is too pale for lines.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
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


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """Return a colour for each arm; beyond seven arms they repeat, and panels tell them apart."""
    return {arm: COLOURS[index % len(COLOURS)] for index, arm in enumerate(arms)}


def styled() -> Any:
    """Return a context in which figures are made and saved in the style of the summaries."""
    return mpl.rc_context(_STYLE)  # type: ignore[arg-type]


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return a figure of this size, inches, that keeps its parts from overlapping."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI)
    figure.set_layout_engine("constrained", h_pad=0.08)
    return figure


def arm_panels(arms: Sequence[str], *, height_in: float = 2.5) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with one panel per arm, at most four in a row, on common axes."""
    columns = min(len(arms), 4)
    rows = -(-len(arms) // columns)
    figure = new_figure(max(2.3 * columns, 4.6), height_in * rows + 0.3)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for spare in grid[len(arms) :]:
        spare.remove()
    return figure, dict(zip(arms, grid, strict=False))


def first_column(panels: Mapping[str, Axes]) -> Iterator[Axes]:
    """Yield the panels that carry the label of the common vertical axis."""
    for axes in panels.values():
        spec = axes.get_subplotspec()
        if spec is not None and spec.is_first_col():
            yield axes


def use_log_scale(axes: Axes) -> None:
    """Give the vertical axis a log scale with plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # Many decades leave room for powers of ten alone.
    subs = (1.0,) if high > 1e3 * low else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def save(figure: Figure, folder: PathLike, name: str) -> None:
    """Write `name.png` and `name.svg`, whole and undated: the same input, the same bytes."""
    folder = Path(folder)
    # Not `savefig`: it draws everything twice to find a layout that `print_*` find in one go.
    with atomic_write(folder / f"{name}.png") as part:
        FigureCanvasAgg(figure).print_png(str(part))
    # The layout is found; finding it again for the other format would cost as much as drawing.
    figure.set_layout_engine("none")
    with atomic_write(folder / f"{name}.svg") as part:
        FigureCanvasSVG(figure).print_svg(str(part), metadata={"Date": None})
