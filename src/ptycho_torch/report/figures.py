"""Figures of a stage: losses by epoch and by learning rate, scores with a row per arm, which the
whole study has as well, and reconstructions beside the truth."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from ptycho_torch.config.study import Study, derive
from ptycho_torch.files import io
from ptycho_torch.report.collect import Collected
from ptycho_torch.runtime import plot_style as style
from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.plot_style import Look
from ptycho_torch.statistics.runs import AMPLITUDE_SSIM, LOSS, MAIN_SCORES, PHASE_SSIM, Score
from ptycho_torch.statistics.stress import Stress

_REFERENCES = ("best constant object", "noise alone")
_SURVIVAL = "Runs not failed"
_CROSS: dict[str, Any] = {"marker": "x", "color": style.INK, "ms": 7, "mew": 2, "ls": ""}
_COLUMNS = 6
_KINDS = {"amplitude": (AMPLITUDE_SSIM, "viridis"), "phase": (PHASE_SSIM, "gray")}
_KEY = (
    "mark: successful run, seeds one below the other; cross: failed run; bar: median of successes\n"
    "dashed: constant image; dotted: noise-free truth; dash-dotted: rPIE"
)
_LINES = (("--", style.REFERENCE), (":", style.REFERENCE), ("-.", style.RPIE))
Panels = Mapping[Score, Sequence[float | None]]
"""Score -> what a constant image scores, what the truth does, and rPIE."""


def write_figures(collected: Collected, found: Stress | None, folder: Path) -> None:
    """Draw and save a stage's figures as PNG and SVG."""
    with style.styled():
        if found is None:
            for draw in (learning_curves, metric_spread, reconstructions):
                style.save(draw(collected), folder, draw.__name__)
        else:
            style.save(loss_by_rate(collected, found), folder, "loss_by_rate")
            style.save(areas(collected, found), folder, "areas")


def learning_curves(collected: Collected) -> Figure:
    """Return the losses by epoch: a panel per arm, a line per seed, crosses for failures. If a run
    failed, a last panel has the Kaplan-Meier curves of the arms of which one did. Losses are MAE,
    which all runs log, whatever they are trained with.
    """
    study = collected.study
    looks = style.arm_looks(collected.stage.arms, study.arms, derive(study).bases)
    failing = {arm: look for arm, look in looks.items() if collected.failed(arm).failures}
    figure, panels = style.arm_panels([*looks, *[_SURVIVAL][: len(failing)]], "epoch", "MAE loss")
    if failing:
        _survival(figure, panels.pop(_SURVIVAL), collected, failing)
    for arm, axes in panels.items():
        _losses(axes, collected, arm, looks[arm]["color"])
    for axes in panels.values():
        if collected.history["mae_val_loss"].min() > 0:
            style.use_log_scale(axes)
        _references(axes, collected)
    keys = {
        "validation, one line per seed": {"color": style.INK},
        "training": {"color": style.INK, "linestyle": ":"},
        "failed": _CROSS,
    }
    drawn, _ = axes.get_legend_handles_labels()
    handles = [*(Line2D([], [], label=name, **key) for name, key in keys.items()), *drawn]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _losses(axes: Axes, collected: Collected, arm: str, colour: str) -> None:
    history, mine = collected.history, collected.runs_of(arm).set_index("seed")
    for seed, rows in history[history["arm"] == arm].groupby("seed"):
        if "mae_train_loss" in rows:
            axes.plot(rows["epoch"], rows["mae_train_loss"], ":", color=colour, linewidth=0.8)
        loss = rows["mae_val_loss"]
        axes.plot(rows["epoch"], loss, ".-", color=colour, linewidth=1.3, markersize=3)
        finite = loss.astype(float).dropna()
        if mine["failed"][seed] and len(finite):
            axes.plot(mine["failure_epoch"][seed], finite.iloc[-1], **_CROSS, zorder=5)
    title = f"{style.on_lines(arm)}\n{mine['failed'].sum()} of {len(mine)} failed"
    axes.set_title(title, fontsize=9)


def _references(axes: Axes, collected: Collected) -> None:
    """Draw what the best constant object and the noise alone give, where they lie in sight."""
    low, high = axes.get_ylim()
    references = (collected.constant_loss, collected.noise_floor)
    for level, line, name in zip(references, ("--", ":"), _REFERENCES, strict=True):
        if level is not None and low <= level <= high:
            axes.axhline(level, color=style.REFERENCE, ls=line, lw=0.8, zorder=0, label=name)


def _survival(figure: Figure, place: Axes, collected: Collected, looks: Mapping[str, Look]) -> None:
    """Draw the share of runs that have not failed by epoch where a panel of losses was to be."""
    spec = place.get_subplotspec()
    assert spec is not None
    place.remove()
    axes = figure.add_subplot(spec, sharex=figure.axes[0], xlabel="epoch", ylim=(-0.03, 1.05))
    for arm, look in looks.items():
        curve = collected.survival(arm)
        axes.step(curve["epoch"], curve["survival"], where="post", **look, ms=3, label=arm)
    axes.set_title(f"{_SURVIVAL}\n(arms with a failure)", fontsize=9)
    axes.legend(fontsize=7, frameon=True, edgecolor="none")


def loss_by_rate(collected: Collected, stress: Stress) -> Figure:
    """Return a panel per depth: per arm the median composite loss over seeds with quartiles, and a
    cross per failed run, which counts as the best constant object."""
    points = stress.points
    depths, rates = points["depth"].unique(), np.sort(points["rate"].unique())
    figure = style.new_figure(max(4.9 * len(depths), 6.0), 3.9)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False).ravel()
    looks = style.arm_looks(points["arm"].unique(), collected.study.arms)
    # Arms stand beside each other at a rate, over at most half of the way to the next.
    step = min(0.04, 0.5 * np.diff(np.log10(rates)).min(initial=1.0) / len(looks))
    for axes, depth in zip(panels, depths, strict=True):
        for place, (arm, look) in enumerate(looks.items()):
            mine = points[(points["arm"] == arm) & (points["depth"] == depth)]
            shift = 10 ** (step * (place - (len(looks) - 1) / 2))
            quartiles = mine.groupby("rate")["loss"].quantile([0.25, 0.5, 0.75]).unstack()
            low, middle, high = quartiles.to_numpy().T
            bars = [middle - low, high - middle]
            axes.errorbar(rates * shift, middle, bars, **look, label=arm, markersize=3.5)
            failed = mine[mine["failed"]]
            # One above the other, so that crosses can be counted.
            lifted = failed["loss"] * 1.05 ** (1 + failed.groupby("rate").cumcount())
            axes.plot(failed["rate"] * shift, lifted, "x", color=look["color"], markersize=5)
        axes.set(xscale="log", xlabel="learning rate")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.set_title(f"{depth} Fourier blocks", loc="left", fontsize=9)
        style.use_log_scale(axes)
        _references(axes, collected)
    panels[0].set_ylabel("composite loss")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def areas(collected: Collected, stress: Stress) -> Figure:
    """Return A of each seed, a row per arm, with the mean."""
    looks = style.arm_looks(stress.areas["arm"].unique(), collected.study.arms)
    figure = style.new_figure(6.4, 0.32 * len(looks) + 1.0)
    axes = figure.subplots()
    for place, (arm, look) in enumerate(looks.items()):
        values = stress.areas.loc[stress.areas["arm"] == arm, "area"].to_numpy()
        axes.plot(values, np.full(values.shape, place), alpha=0.7, **look | {"linestyle": ""})
        axes.plot([values.mean()], [place], "|", color=style.INK, ms=16, mew=1.6)
    axes.set_yticks(range(len(looks)), list(looks))
    axes.set_ylim(len(looks) - 0.5, -0.5)
    axes.set_xlabel("A, mean composite loss over the rates (lower is better); bar: mean")
    return figure


def metric_spread(collected: Collected) -> Figure:
    """Return the loss and the main scores of each arm, with what baselines score."""
    panels: dict[Score, Sequence[float | None]] = {LOSS: ()}
    for score in MAIN_SCORES[1:]:
        if score.name not in collected.undefined:
            panels[score] = [scores[score.name] for scores in collected.baselines.values()]
    return _rows(collected.runs, collected.study, collected.stage.arms, panels)


def overview(runs: pd.DataFrame, study: Study, levels: Sequence[float | None]) -> Figure:
    """Return loss and amplitude SSIM of each arm of the whole study, a row per run in `runs`, with
    what the baselines score in the SSIM."""
    return _rows(runs, study, runs["arm"].unique(), {LOSS: (), AMPLITUDE_SSIM: levels})


def _rows(runs: pd.DataFrame, study: Study, arms: Iterable[str], panels: Panels) -> Figure:
    """Return a panel per score, with what baselines score, and a row per arm."""
    looks = style.arm_looks(arms, study.arms, derive(study).bases)
    by_arm = {arm: runs[runs["arm"] == arm] for arm in looks}
    labels = [f"{arm}, {of['failed'].sum()} of {len(of)} failed" for arm, of in by_arm.items()]
    width = 2.1 * len(panels) + 0.07 * max(map(len, labels))
    figure = style.new_figure(width, 0.36 * len(looks) + 1.5)
    grid = figure.subplots(1, len(panels), sharey=True)
    for axes, (score, levels) in zip(grid, panels.items(), strict=True):
        better = "lower" if score.lower_is_better else "higher"
        axes.set_title(f"{score.label}\n({better} is better)", loc="left", fontsize=9)
        for place, (arm, look) in enumerate(looks.items()):
            _mark_runs(axes, place, by_arm[arm], score, look)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        values = runs[score.column].astype(float)
        if score.column.endswith("loss") and 0 < 5 * values.min() < values.max():
            style.use_log_scale(axes, "x")
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
    axes.plot(pd.Series(values[~failed]).median(), place, "|", color=style.INK, markersize=16)


def reconstructions(collected: Collected) -> Figure:
    """Return amplitude and phase of chosen runs, truth and rPIE on the truth's scale; one image."""
    runs = _shown_runs(collected.runs).to_dict("records")
    arrays = [io.read_npz(collected.reconstructions[run["arm"], run["seed"]]) for run in runs]
    kinds = [k for k, (score, _) in _KINDS.items() if score.name not in collected.undefined]
    kinds = kinds or ["amplitude"]
    rpie = io.read_npz(collected.conventional["image"]) if collected.conventional else None
    count = len(arrays) + 1 + (rpie is not None)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = style.new_figure(max(1.8 * columns + 0.8, 4.0), 2.2 * rows * len(kinds))
    grid = figure.subplots(rows * len(kinds), columns, squeeze=False)
    for block, kind in zip(np.split(grid, len(kinds)), kinds, strict=True):
        score, colours = _KINDS[kind]
        images = {"truth\n": arrays[0][f"truth_{kind}"][0]}
        if rpie is not None:
            value = collected.baselines["conventional"][score.name]
            images[f"rPIE, not trained\nSSIM {number(value)}"] = rpie[kind][0]
        for run, found in zip(runs, arrays, strict=True):
            name = style.on_lines(f"{run['arm']}, seed {run['seed']}", 34)
            ssim = f"SSIM {number(run[score.column])}"
            images[f"{name}\n{run['outcome']}, {ssim}"] = found[kind][0]
        # An outlier of the truth, such as a phase that wraps, leaves no grey for the rest.
        low, high = np.nanpercentile(images["truth\n"], [0.5, 99.5])
        label = "phase, rad" if kind == "phase" else kind
        style.draw_images(figure, block, images, label, cmap=colours, vmin=low, vmax=high)
    return figure


def _shown_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return of each arm, in their order, the successful run of median SSIM (of two in the middle
    the lower), and one that failed, with a score if one has it."""
    chosen, column = [], AMPLITUDE_SSIM.column
    for _, mine in runs.groupby("arm", sort=False):
        failed = mine["failed"].astype(bool)
        good = mine[~failed].sort_values([column, "seed"])
        bad = mine[failed].sort_values(column, key=pd.isna, kind="stable")
        chosen += [good[(len(good) - 1) // 2 :][:1], bad[:1]]
    return pd.concat(chosen)
