"""The diagnoses in two figures: activations against depth, and gradients against training time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ptycho_torch.config.plan import COMPARED
from ptycho_torch.runtime.plot_style import (
    COLOURS,
    REFERENCE,
    arm_panels,
    first_column,
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

    A panel per depth, of untrained networks and of trained runs. A thin line per network, a thick
    one for the geometric mean over those of a kind.
    """
    shown: dict[str, dict[str, list[list[float]]]] = {}
    for entry in entries:
        network, blocks = entry["network"], entry.get("blocks")
        compared = network["generator"] in _KINDS and network["fno_blocks"] in depths
        if blocks and compared and network["state"] in _STATES:
            line = [blocks[0]["input_mean"], *(block["output_mean"] for block in blocks)]
            if all(line):
                title = f"{_STATES[network['state']]}, {network['fno_blocks']} blocks"
                shown.setdefault(title, {}).setdefault(network["generator"], []).append(line)
    figure, panels = arm_panels(list(shown) or ["no network"], height_in=2.8)
    labels: dict[str, Any] = {}
    for title, axes in panels.items():
        for kind, lines in shown.get(title, {}).items():
            colour, dashes = _KINDS[kind]
            look = {"color": colour, "linestyle": dashes}
            axes.plot(np.transpose(lines), **look, linewidth=0.7, alpha=0.4)
            mean = np.exp(np.log(lines).mean(axis=0))
            (labels[kind],) = axes.plot(mean, **look, marker=".", linewidth=2.2)
        axes.set_title(title, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        use_log_scale(axes)
    for axes in first_column(panels):
        axes.set_ylabel("mean |activation|")
    figure.supxlabel("Fourier block (last: bottleneck)", fontsize=9)
    figure.legend(labels.values(), labels, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def gradient_ratio(history: pd.DataFrame, threshold: float) -> Figure:
    """Return spectral over local gradients by epoch: a panel per arm, a line per seed, the
    threshold dashed. history: `arm`, `seed`, `epoch` and `spectral_local_ratio` of every run."""
    ratio = history["spectral_local_ratio"].astype(float)
    history = history.assign(ratio=ratio.where(ratio > 0))
    figure, panels = arm_panels(list(history["arm"].unique()) or ["no run"], height_in=1.9)
    for arm, axes in panels.items():
        for _, rows in history[history["arm"] == arm].groupby("seed"):
            axes.plot(rows["epoch"], rows["ratio"], ".-", lw=1.0, ms=3)
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
