"""Every figure of a stage, by name; reconstructions beside the truth, as stitched."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ptycho_torch.files import io
from ptycho_torch.report.collect import Collected
from ptycho_torch.report.figures import rows, runs
from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.plot_style import new_figure, save, styled
from ptycho_torch.statistics.runs import shown_runs
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, PHASE_SSIM
from ptycho_torch.statistics.stress import Stress

_COLUMNS = 5
_KINDS = {"amplitude": (AMPLITUDE_SSIM, "viridis"), "phase": (PHASE_SSIM, "gray")}


def write_figures(collected: Collected, found: Stress | None, folder: Path) -> None:
    """Draw and save a stage's figures as PNG and SVG."""
    with styled():
        if found is not None:
            save(runs.loss_by_rate(collected, found), folder, "loss_by_rate")
            save(runs.areas(found), folder, "areas")
            return
        for draw in (runs.learning_curves, rows.metric_spread, reconstructions, runs.survival):
            save(draw(collected), folder, draw.__name__)


def reconstructions(collected: Collected) -> Figure:
    """Return amplitude and phase of chosen runs, first test image, on the truth's scale."""
    runs = shown_runs(collected.runs).to_dict("records")
    arrays = [io.read_npz(collected.reconstructions[run["arm"], run["seed"]]) for run in runs]
    kinds = {
        k: v for k, v in _KINDS.items() if k == "amplitude" or v[0].name not in collected.undefined
    }
    columns = min(_COLUMNS, len(arrays) + 1)
    rows = -(-(len(arrays) + 1) // columns)
    figure = new_figure(max(1.8 * columns + 0.8, 4.0), 2.15 * rows * len(kinds))
    blocks = figure.subfigures(len(kinds), 1, squeeze=False).ravel()
    for block, (kind, (score, colours)) in zip(blocks, kinds.items(), strict=True):
        if not arrays:
            block.text(0.5, 0.5, "no run to show", ha="center")
            continue
        images = {"truth\n": arrays[0][f"truth_{kind}"][0]}
        for run, found in zip(runs, arrays, strict=True):
            ssim = f"SSIM {number(run[score.column])}"
            title = f"{run['arm']}, seed {run['seed']}\n{run['outcome']}, {ssim}"
            images[title] = found[kind][0]
        grid = block.subplots(rows, columns, squeeze=False).ravel()
        # An outlier of the truth, such as a phase that wraps, leaves no grey for the rest.
        low, high = np.nanpercentile(images["truth\n"], [0.5, 99.5])
        for axes in grid:
            axes.set_axis_off()
        for axes, (title, image) in zip(grid, images.items(), strict=False):
            drawn = axes.imshow(image, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
            axes.set_title(title, fontsize=8)
            if not np.isfinite(image).any():
                axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
        label = "phase, rad" if kind == "phase" else kind
        block.colorbar(drawn, ax=list(grid), label=label, fraction=0.03, pad=0.01, extend="both")
    return figure
