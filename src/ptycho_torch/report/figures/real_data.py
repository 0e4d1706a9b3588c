"""Figures of a measurement: objects, ring correlation, patterns."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ptycho_torch.report.summarise.real_data import Measurement
from ptycho_torch.runtime.plot_style import (
    REFERENCE,
    RPIE,
    Look,
    draw_images,
    new_figure,
    on_lines,
    save,
    styled,
)

_MOST_COLUMNS = 5


def draw_all(found: Measurement, looks: Mapping[str, Look], folder: Path) -> None:
    """Write every figure, PNG and SVG; looks: of each network, by its label."""
    with styled():
        save(reconstructions(found), folder, "reconstructions")
        save(ring_correlation(found, looks), folder, "ring_correlation")
        save(held_out_frames(found), folder, "held_out_frames")


def reconstructions(found: Measurement) -> Figure:
    """Return amplitude and phase of rPIE and of each network, on rPIE's scales."""
    shown = found.shown()[:_MOST_COLUMNS]
    figure = new_figure(2.5 * len(shown) + 0.8, 5.4)
    grid = figure.subplots(2, len(shown), squeeze=False)
    reference = found.rpie.curves["reference"]
    turn = np.exp(-1j * np.angle(np.exp(1j * np.angle(reference)).mean()))
    for row, label in zip(grid, ("amplitude", "phase, rad"), strict=True):
        part = np.abs if label == "amplitude" else lambda image: np.angle(image * turn)
        low, high = np.percentile(part(reference), [0.5, 99.5])
        images = {on_lines(result.name): part(result.curves["image"]) for result in shown}
        draw_images(figure, row, images, label, cmap="gray", vmin=low, vmax=high)
    return figure


def ring_correlation(found: Measurement, looks: Mapping[str, Look]) -> Figure:
    """Return the Fourier ring correlation of the two halves, with three thresholds."""
    looks = {**looks, found.rpie.label: {"color": RPIE}}
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    frequency = found.rpie.curves["frc_cycles_per_px"]
    for result in found.shown():
        look = {"markersize": 3.5, **looks[result.label]}
        axes.plot(frequency, result.curves["frc_correlation"], label=result.name, lw=1.3, **look)
    half_bit = found.rpie.curves["frc_half_bit"]
    axes.plot(frequency, half_bit, color=REFERENCE, lw=1, label="half bit")
    axes.axhline(1 / 2, color=REFERENCE, lw=1, ls="--", label="1/2")
    axes.axhline(1 / 7, color=REFERENCE, lw=1, ls=":", label="1/7")
    axes.set_xlabel("spatial frequency, cycles per pixel")
    axes.set_ylabel("correlation of two half scans")
    axes.set_ylim(-0.2, 1.05)
    axes.set_xlim(0, 0.5)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def held_out_frames(found: Measurement) -> Figure:
    """Return held-out frames as observed and as predicted, log scale over 2.5 decades."""
    observed = found.rpie.curves["observed"]
    columns = {"observed": observed}
    for result in found.shown()[:_MOST_COLUMNS]:
        columns[f"{result.name}:\nobject"] = result.curves["predicted"]
        if "predicted_patch" in result.curves:
            columns[f"{result.name}:\nown patch"] = result.curves["predicted_patch"]
    figure = new_figure(1.75 * len(columns) + 0.9, 1.95 * len(observed) + 0.5)
    high = float(observed.max())
    low = max(high / 300, 1e-6)
    for place, row in enumerate(figure.subplots(len(observed), len(columns), squeeze=False)):
        # What is darker than the scale is its darkest, not a hole.
        images = {title: np.maximum(frames[place], low) for title, frames in columns.items()}
        draw_images(figure, row, images, "amplitude", cmap="magma", norm=LogNorm(low, high))
    return figure
