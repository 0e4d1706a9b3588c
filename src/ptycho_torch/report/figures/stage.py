"""Every figure of a stage, by name: scores and failures with a row per arm, which the whole study
has as well; reconstructions beside the truth."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ptycho_torch.config.arms import derive
from ptycho_torch.config.study import Study
from ptycho_torch.files import io
from ptycho_torch.report.collect import Collected
from ptycho_torch.report.figures import runs as of_runs
from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.plot_style import (
    INK,
    REFERENCE,
    RPIE,
    Look,
    arm_looks,
    new_figure,
    on_lines,
    save,
    styled,
    use_log_scale,
)
from ptycho_torch.statistics.runs import failure_rate, shown_runs
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, PHASE_SSIM, Score, loss_score
from ptycho_torch.statistics.stress import Stress

_COLUMNS = 6
_KINDS = {"amplitude": (AMPLITUDE_SSIM, "viridis"), "phase": (PHASE_SSIM, "gray")}
_KEY = (
    "mark: successful run, seeds one below the other; cross: failed run; bar: median of successes\n"
    "dashed: constant image; dotted: noise-free truth; dash-dotted: rPIE"
)
_LINES = (("--", REFERENCE), (":", REFERENCE), ("-.", RPIE))
Levels = Sequence[float | None]
"""What a constant image scores, what the truth does, and rPIE."""


def write_figures(collected: Collected, found: Stress | None, folder: Path) -> None:
    """Draw and save a stage's figures as PNG and SVG."""
    with styled():
        if found is not None:
            for of_rates in (of_runs.loss_by_rate, of_runs.areas):
                save(of_rates(collected, found), folder, of_rates.__name__)
            return
        for draw in (of_runs.learning_curves, metric_spread, reconstructions):
            save(draw(collected), folder, draw.__name__)


def metric_spread(collected: Collected) -> Figure:
    """Return the loss and the main scores of each arm, with what baselines score."""
    panels: dict[Score, Levels] = {collected.loss: ()}
    for score in collected.main_scores[1:]:
        if score.name not in collected.undefined:
            panels[score] = [scores[score.name] for scores in collected.baselines.values()]
    return _rows(collected.runs, collected.study, collected.stage.arms, panels)


def overview(runs: pd.DataFrame, study: Study, levels: Levels) -> Figure:
    """Return loss and amplitude SSIM of each arm of the whole study, a row per run in `runs`, with
    what the baselines score in the SSIM."""
    loss = loss_score(runs["val_loss_name"].tolist())
    return _rows(runs, study, runs["arm"].unique(), {loss: (), AMPLITUDE_SSIM: levels})


def _rows(
    runs: pd.DataFrame, study: Study, arms: Iterable[str], panels: Mapping[Score, Levels]
) -> Figure:
    """Return a panel per score, with what baselines score, and a row per arm."""
    looks = arm_looks(arms, study.arms, derive(study).bases)
    failed = {arm: failure_rate(runs, arm, study.statistics.confidence) for arm in looks}
    labels = [f"{arm}, {of.failures} of {of.runs} failed" for arm, of in failed.items()]
    figure = new_figure(2.1 * len(panels) + 0.07 * max(map(len, labels)), 0.36 * len(looks) + 1.5)
    grid = figure.subplots(1, len(panels), sharey=True)
    for axes, (score, levels) in zip(grid, panels.items(), strict=True):
        better = "lower" if score.lower_is_better else "higher"
        axes.set_title(f"{score.label}\n({better} is better)", loc="left", fontsize=9)
        for place, (arm, look) in enumerate(looks.items()):
            _mark_runs(axes, place, runs[runs["arm"] == arm], score, look)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        values = runs[score.column].astype(float)
        if score.column.endswith("loss") and 0 < 5 * values.min() < values.max():
            use_log_scale(axes, "x")
        for level, (line, colour) in zip(levels, _LINES, strict=False):
            if level is not None:
                axes.axvline(level, color=colour, linestyle=line, linewidth=1, zorder=0)
    grid[0].set_yticks(range(len(looks)), labels)
    grid[0].set_ylim(len(looks) - 0.4, -0.6)
    figure.supxlabel(_KEY, fontsize=8)
    return figure


def _mark_runs(axes: Axes, place: float, runs: pd.DataFrame, score: Score, look: Look) -> None:
    values, failed = runs[score.column].astype(float).to_numpy(), runs["failed"].to_numpy(bool)
    places = place + np.linspace(-0.2, 0.2, len(values)) * (len(values) > 1)
    look = look | {"linestyle": "", "alpha": 0.8, "markersize": 4.5, "markeredgewidth": 1.4}
    axes.plot(values[~failed], places[~failed], **look)
    axes.plot(values[failed], places[failed], **look | {"marker": "x"})
    if np.isfinite(values[~failed]).any():
        axes.plot([np.nanmedian(values[~failed])], [place], "|", color=INK, markersize=16)


def reconstructions(collected: Collected) -> Figure:
    """Return amplitude and phase of chosen runs beside the truth and rPIE, first test image, on the
    truth's scale."""
    runs = shown_runs(collected.runs).to_dict("records")
    arrays = [io.read_npz(collected.reconstructions[run["arm"], run["seed"]]) for run in runs]
    kinds = {
        k: v for k, v in _KINDS.items() if k == "amplitude" or v[0].name not in collected.undefined
    }
    rpie = io.read_npz(collected.rpie_image) if collected.rpie_image else None
    count = len(arrays) + 1 + (rpie is not None)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = new_figure(max(1.8 * columns + 0.8, 4.0), 2.2 * rows * len(kinds))
    if not arrays:
        figure.text(0.5, 0.5, "no run to show", ha="center")
        return figure
    grid = figure.subplots(rows * len(kinds), columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for block, (kind, (score, colours)) in zip(
        np.split(grid, len(kinds)), kinds.items(), strict=True
    ):
        images = {"truth\n": arrays[0][f"truth_{kind}"][0]}
        if rpie is not None:
            value = collected.baselines["conventional"][score.name]
            images[f"rPIE, not trained\nSSIM {number(value)}"] = rpie[kind][0]
        for run, found in zip(runs, arrays, strict=True):
            name = on_lines(f"{run['arm']}, seed {run['seed']}", 34)
            ssim = f"SSIM {number(run[score.column])}"
            images[f"{name}\n{run['outcome']}, {ssim}"] = found[kind][0]
        # An outlier of the truth, such as a phase that wraps, leaves no grey for the rest.
        low, high = np.nanpercentile(images["truth\n"], [0.5, 99.5])
        for axes, (title, image) in zip(block.flat, images.items(), strict=False):
            drawn = axes.imshow(image, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
            axes.set_title(title, fontsize=8)
            if not np.isfinite(image).any():
                axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
        label = "phase, rad" if kind == "phase" else kind
        figure.colorbar(drawn, ax=block, label=label, fraction=0.03, pad=0.01, extend="both")
    return figure
