"""Figures of results against a setting, and of gradient norms at depth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ptycho_torch.config.arms import varied_arms
from ptycho_torch.config.study import value_text
from ptycho_torch.config.variants import numbers_of
from ptycho_torch.report.summarise.findings import Findings
from ptycho_torch.report.wording import counts
from ptycho_torch.runtime.plot_style import (
    COLOURS,
    INK,
    REFERENCE,
    arm_colours,
    new_figure,
    use_log_scale,
)
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.depth import gradient_bound
from ptycho_torch.statistics.runs import failure_rate
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM

_BLUE, _RED = COLOURS[1], COLOURS[2]


def by_value(findings: Findings) -> Figure:
    """Return loss, SSIM, failures and share of clipped steps against the values of a sweep."""
    found = varied_arms(findings.study, findings.name)
    variants, arms = [variant for variant, _ in found], [arm for _, arm in found]
    labels = [", ".join(value_text(value) for _, value in v.changes) for v in variants]
    keys = " and ".join(key for key, _ in variants[0].changes)
    places = numbers_of(variants) or [float(place) for place in range(len(arms))]
    figure = new_figure(9.2, 5.2)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for axes, (column, title) in zip(
        panels,
        (
            (findings.loss.column, f"{findings.loss.label} (lower is better)"),
            (AMPLITUDE_SSIM.column, f"{AMPLITUDE_SSIM.label} (higher is better)"),
            (None, "failure rate"),
            ("clipped_share", "share clipped (all runs)"),
        ),
        strict=True,
    ):
        if column is None:
            _failure_rates(axes, findings, arms, places)
        else:
            _dots(axes, findings, arms, places, column)
        axes.set_title(title, loc="left", fontsize=9)
        if places[0] > 0 and places[-1] >= 10 * places[0]:
            axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(places, labels)
    for axes in panels[2:]:
        axes.set_xlabel(keys)
    figure.supxlabel(
        "dot: successful run; cross: failed run; bar: median of successful runs; dashed: median "
        f"of {findings.stage.control}; failure rate with its interval (Wilson)",
        fontsize=8,
    )
    return figure


def _dots(
    axes: Axes, findings: Findings, arms: Sequence[str], places: Sequence[float], column: str
) -> None:
    """Draw a dot per run and a bar at the median; all runs count for the share of clipped steps."""
    everyone = column == "clipped_share"
    for place, arm in zip(places, arms, strict=True):
        runs = findings.runs[findings.runs["arm"] == arm]
        failed = runs["failed"].astype(bool).to_numpy()
        values = runs[column].astype(float).to_numpy()
        good = values if everyone else values[~failed]
        good = good[np.isfinite(good)]
        axes.plot([place] * len(good), good, "o", color=_BLUE, alpha=0.7, markersize=5)
        bad = values[failed & np.isfinite(values)]
        axes.plot([place] * len(bad), bad, "x", color=_RED, markeredgewidth=1.8)
        if len(good):
            axes.plot(
                [place], [np.median(good)], "_", color=INK, markersize=16, markeredgewidth=1.6
            )
    control = findings.runs[findings.runs["arm"] == findings.stage.control]
    reference = (
        control[column] if everyone else control.loc[~control["failed"].astype(bool), column]
    )
    median = estimates.spread(reference.astype(float).tolist()).median
    if median is not None:
        axes.axhline(median, color=REFERENCE, linestyle="--", linewidth=0.9, zorder=0)
    axes.margins(y=0.15)
    if everyone:
        axes.set_ylim(-0.05, 1.05)


def _failure_rates(
    axes: Axes, findings: Findings, arms: Sequence[str], places: Sequence[float]
) -> None:
    for place, arm in zip(places, arms, strict=True):
        failed = failure_rate(findings.runs, arm, findings.confidence)
        low, high = failed.interval.low, failed.interval.high
        axes.plot([place, place], [low, high], color=_BLUE, linewidth=1.4)
        axes.plot([place], [failed.failures / failed.runs], "o", color=_BLUE, markersize=5)
        axes.annotate(counts(failed), (place, high), ha="center", va="bottom", fontsize=7.5)
    axes.set_ylim(-0.04, 1.12)


def gradient_norms(findings: Findings) -> Figure:
    """Return the 99th percentile of the gradient norm by epoch: deep arms beside shallow ones."""
    pairs = list(findings.stage.depth)
    settings = findings.study.stage_b
    assert settings is not None
    figure = new_figure(max(3.0 * len(pairs), 4.6), 3.0)
    panels = figure.subplots(1, len(pairs), sharex=True, sharey=True, squeeze=False).ravel()
    colours = arm_colours([arm for arm, _ in pairs])
    for axes, (deep, shallow) in zip(panels, pairs, strict=True):
        for arm, line, width in ((shallow, ":", 1.0), (deep, "-", 1.4)):
            history = findings.collected.history
            for _, rows in history[history["arm"] == arm].groupby("seed"):
                norms = pd.to_numeric(rows["grad_norm_p99"], errors="coerce")
                marker = "." if len(rows) == 1 else ""
                axes.plot(
                    *(rows["epoch"], norms), marker + line, color=colours[deep], linewidth=width
                )
        bound = gradient_bound(findings.runs, shallow, settings.gradient_factor)
        if bound is not None and bound > 0:
            axes.axhline(bound, color=REFERENCE, linestyle="--", linewidth=0.9)
            axes.annotate(
                f"bound {bound:.3g}",
                (0.02, bound),
                xycoords=("axes fraction", "data"),
                va="bottom",
                fontsize=7.5,
            )
        use_log_scale(axes)
        axes.set_title(deep, fontsize=9)
        axes.set_xlabel("epoch")
    panels[0].set_ylabel("gradient norm, 99th percentile")
    keys = [
        Line2D([], [], color=INK, linestyle="-", label="deep, a line per seed"),
        Line2D([], [], color=INK, linestyle=":", label="shallow"),
        Line2D([], [], color=REFERENCE, linestyle="--", label="bound of this arm"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=8)
    return figure
