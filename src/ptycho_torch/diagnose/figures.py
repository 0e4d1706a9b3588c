"""The diagnoses in two figures: activations against depth, and gradients against training time."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ptycho_torch.config.plan import COMPARED
from ptycho_torch.runtime.plot_style import (
    COLOURS,
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
_STATES = {"fresh": "untrained", "best": "trained (best weights)"}


def activation_depth(entries: Entries, depths: Sequence[int]) -> Figure:
    """Return the mean modulus of the Fourier blocks' outputs against their place; 0: the input.

    A column per depth; above untrained networks, below trained runs where there are any. A thin
    line per network, a thick one for the geometric mean over those of a kind.
    """
    shown = [
        entry
        for entry in entries
        if entry.get("blocks")
        and entry["network"]["generator"] in _KINDS
        and entry["network"]["fno_blocks"] in depths
    ]
    rows = [s for s in _STATES if any(e["network"]["state"] == s for e in shown)] or ["fresh"]
    figure = new_figure(max(3.4 * len(depths), 4.6), 2.6 * len(rows) + 0.5)
    grid = figure.subplots(len(rows), len(depths), sharey=True, squeeze=False)
    for axes, (state, depth) in zip(grid.flat, product(rows, depths), strict=True):
        axes.set_title(f"{_STATES[state]}, {depth} blocks", fontsize=9)
        axes.set_xlabel("Fourier block (last: bottleneck)")
        kind = {"state": state, "fno_blocks": depth}
        _profiles(axes, [entry for entry in shown if kind.items() <= entry["network"].items()])
    for axes in grid[:, 0]:
        axes.set_ylabel("mean |activation|")
    handles = [axes.get_legend_handles_labels() for axes in grid.flat]
    by_label = {k: v for pair in handles for v, k in zip(*pair, strict=True)}
    figure.legend(by_label.values(), by_label, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _profiles(axes: Axes, entries: Entries) -> None:
    """Draw networks of one depth; a kind without any is left out."""
    for kind, (colour, style) in _KINDS.items():
        lines = [
            [e["blocks"][0]["input_mean"], *(block["output_mean"] for block in e["blocks"])]
            for e in entries
            if e["network"]["generator"] == kind
        ]
        if whole := [line for line in lines if all(v is not None and v > 0 for v in line)]:
            look = {"color": colour, "linestyle": style}
            axes.plot(np.transpose(whole), **look, linewidth=0.7, alpha=0.4)
            mean = np.exp(np.log(whole).mean(axis=0))
            axes.plot(mean, **look, marker=".", linewidth=2.2, label=kind)
    if not axes.lines:
        axes.text(0.5, 0.5, "no such run", transform=axes.transAxes, ha="center", color=REFERENCE)
        return
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    use_log_scale(axes)


def gradient_ratio(history: pd.DataFrame, threshold: float) -> Figure:
    """Return spectral over local gradients by epoch: a panel per arm, a line per seed, the
    threshold dashed. history: `arm`, `seed`, `epoch` and `spectral_local_ratio` of every run."""
    ratio = history["spectral_local_ratio"].astype(float)
    history = history.assign(ratio=ratio.where(ratio > 0))
    figure, panels = arm_panels(list(history["arm"].unique()) or ["no run"], height_in=1.9)
    for arm, axes in panels.items():
        for place, (_, rows) in enumerate(history[history["arm"] == arm].groupby("seed")):
            colour = COLOURS[1:][place % len(COLOURS[1:])]
            axes.plot(rows["epoch"], rows["ratio"], ".-", color=colour, lw=1.0, ms=3)
        axes.axhline(threshold, color=REFERENCE, linestyle="--", linewidth=0.9)
        use_log_scale(axes)
        axes.set_title(arm, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Room around the threshold, so that the axis has more than one number.
    shown = [*history["ratio"].dropna(), threshold]
    axes.set_ylim(min(shown) / 1.6, max(shown) * 1.6)
    for axes in first_column(panels):
        axes.set_ylabel("spectral / local")
    figure.supxlabel(
        f"epoch; a line per seed; dashed: threshold {threshold:g}; before clipping", fontsize=8
    )
    return figure
