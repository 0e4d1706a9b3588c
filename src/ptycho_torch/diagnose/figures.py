"""The diagnoses in two figures: activations against depth, and gradients against training time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ptycho_torch.config.plan import COMPARED
from ptycho_torch.runtime.plot_style import (
    COLOURS,
    INK,
    REFERENCE,
    arm_panels,
    first_column,
    new_figure,
    use_log_scale,
)

Entries = Sequence[Mapping[str, Any]]
# Dashes, since at its start the one lies on the other.
_KINDS: dict[str, tuple[str, Any]] = dict(
    zip(COMPARED, ((COLOURS[2], "-"), (COLOURS[1], "-"), (COLOURS[3], (0, (2, 2)))), strict=True)
)
_STATES = (("fresh", "fresh"), ("best", "trained (best weights)"))


def activation_depth(entries: Entries, depths: Sequence[int]) -> Figure:
    """Return the mean modulus of the Fourier blocks' outputs against their place.

    A column per depth; above fresh networks, below trained runs where there are any. A thin line
    per network, a thick one for the geometric mean over those of a kind. Place 0 is what enters the
    first block.
    """
    usable = [e for e in entries if e.get("blocks") and _is_shown(e["network"], depths)]
    rows = [row for row in _STATES if any(e["network"]["state"] == row[0] for e in usable)]
    figure = new_figure(max(3.4 * len(depths), 4.6), 2.6 * max(len(rows), 1) + 0.5)
    grid = figure.subplots(max(len(rows), 1), len(depths), sharey=True, squeeze=False)
    for line, (state, title) in enumerate(rows):
        for axes, depth in zip(grid[line], depths, strict=True):
            some = [
                e
                for e in usable
                if e["network"]["state"] == state and e["network"]["fno_blocks"] == depth
            ]
            _profiles(axes, some)
            axes.set_title(f"{title}, {depth} blocks", fontsize=9)
            axes.set_xlabel("Fourier block (last: bottleneck)")
        grid[line][0].set_ylabel("mean |activation|")
    keys = [
        Line2D([], [], color=colour, linestyle=line, linewidth=2.2, label=kind)
        for kind, (colour, line) in _KINDS.items()
    ]
    keys.append(Line2D([], [], color=INK, linewidth=0.7, alpha=0.5, label="one network"))
    figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _is_shown(network: Mapping[str, Any], depths: Sequence[int]) -> bool:
    kind = network["generator"] in _KINDS and network["fno_blocks"] in depths
    return kind and network.get("initialisation", "1/in") == "1/in"


def _profiles(axes: Axes, entries: Entries) -> None:
    """Draw networks of one depth; a kind without any is left out."""
    if not entries:
        axes.text(0.5, 0.5, "no such run", transform=axes.transAxes, ha="center", color=REFERENCE)
        axes.set_xticks([])
        return
    for kind, (colour, style) in _KINDS.items():
        lines = [
            [e["blocks"][0]["input_mean"], *(block["output_mean"] for block in e["blocks"])]
            for e in entries
            if e["network"]["generator"] == kind
        ]
        whole = [line for line in lines if all(value is not None and value > 0 for value in line)]
        for line in whole:
            axes.plot(line, color=colour, linestyle=style, linewidth=0.7, alpha=0.4)
        if whole:
            mean = np.exp(np.log(np.array(whole)).mean(axis=0))
            axes.plot(mean, color=colour, linestyle=style, marker=".", linewidth=2.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    use_log_scale(axes)


def gradient_ratio(history: pd.DataFrame, arms: Sequence[str], threshold: float) -> Figure:
    """Return spectral over local gradients by epoch: a panel per arm, a line per seed.

    Parameters
    ----------
    history
        `arm`, `seed`, `epoch` and `spectral_local_ratio` of every run.
    arms
        Order of the panels; none: one panel that says so.
    threshold
        Drawn dashed.
    """
    if not arms:
        figure = new_figure(4.6, 2.5)
        axes = figure.subplots()
        axes.text(0.5, 0.5, "no run was asked for", ha="center", color=REFERENCE)
        axes.set_axis_off()
        return figure
    figure, panels = arm_panels(arms, height_in=1.9)
    for arm, axes in panels.items():
        for place, (_, rows) in enumerate(history[history["arm"] == arm].groupby("seed")):
            values = pd.to_numeric(rows["spectral_local_ratio"], errors="coerce")
            colour = COLOURS[1:][place % len(COLOURS[1:])]
            axes.plot(rows["epoch"], values, ".-", color=colour, linewidth=1.0, markersize=3)
        axes.axhline(threshold, color=REFERENCE, linestyle="--", linewidth=0.9)
        use_log_scale(axes)
        axes.set_title(arm, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Room around the threshold, so that the axis has more than one number.
    shown = [*pd.to_numeric(history["spectral_local_ratio"], errors="coerce").dropna(), threshold]
    positive = [value for value in shown if value > 0]
    axes.set_ylim(min(positive) / 1.6, max(positive) * 1.6)
    for axes in first_column(panels):
        axes.set_ylabel("spectral / local")
    figure.supxlabel(
        f"epoch; a line per seed; dashed: threshold {threshold:g}; before clipping", fontsize=8
    )
    return figure
