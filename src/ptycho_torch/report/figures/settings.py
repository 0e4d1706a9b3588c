"""Figures of results against a setting, and of gradient norms at depth."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ptycho_torch.config.base import value_text
from ptycho_torch.config.variants import numbers_of
from ptycho_torch.report.collected import Collected
from ptycho_torch.report.figures.marks import mark_failure_rate, mark_runs, title_of
from ptycho_torch.runtime.plot_style import (
    INK,
    REFERENCE,
    arm_colours,
    new_figure,
    use_log_scale,
)
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.depth import gradient_bound
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM


def by_value(collected: Collected) -> Figure:
    """Return loss, SSIM, failures and share of clipped steps against the values of a sweep."""
    control = collected.runs_of(collected.stage.control)
    arms, variants = list(collected.variants), list(collected.variants.values())
    labels = [", ".join(value_text(value) for _, value in v.changes) for v in variants]
    several = len({variant.base for variant in variants}) > 1
    if several:
        labels = [f"{v.base} {label}" for v, label in zip(variants, labels, strict=True)]
    places = numbers_of(variants) or [float(place) for place in range(len(arms))]
    figure = new_figure(9.2, 5.2)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    loss, ssim, failures, clipped = panels
    for axes, score in ((loss, collected.loss), (ssim, AMPLITUDE_SSIM)):
        for place, arm in zip(places, arms, strict=True):
            mark_runs(axes, place, collected.runs_of(arm), score.column)
        _median_line(axes, control.loc[~control["failed"].astype(bool), score.column])
        axes.set_title(title_of(score), loc="left", fontsize=9)
    for place, arm in zip(places, arms, strict=True):
        mark_failure_rate(failures, place, collected.failed(arm))
        # All runs count for the share of clipped steps.
        mark_runs(clipped, place, collected.runs_of(arm).assign(failed=False), "clipped_share")
    _median_line(clipped, control["clipped_share"])
    failures.set_title("failure rate", loc="left", fontsize=9)
    clipped.set_title("share clipped (all runs)", loc="left", fontsize=9)
    for axes in panels:
        axes.margins(y=0.15)
        if places[0] > 0 and places[-1] >= 10 * places[0]:
            axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(places, labels, rotation=60 if several else 0)
    failures.set_ylim(-0.04, 1.12)
    clipped.set_ylim(-0.05, 1.05)
    for axes in (failures, clipped):
        axes.set_xlabel(" and ".join(key for key, _ in variants[0].changes))
    figure.supxlabel(
        "dot: successful run; cross: failed run; bar: median of successful runs; dashed: median "
        f"of {collected.stage.control}; failure rate with its exact interval",
        fontsize=8,
    )
    return figure


def _median_line(axes, values: "pd.Series[float]") -> None:  # type: ignore[no-untyped-def]
    median = estimates.spread(values.astype(float).tolist()).median
    if median is not None:
        axes.axhline(median, color=REFERENCE, linestyle="--", linewidth=0.9, zorder=0)


def gradient_norms(collected: Collected) -> Figure:
    """Return the 99th percentile of the gradient norm by epoch: deep arms beside shallow ones."""
    assert collected.study.stage_b is not None
    factor = collected.study.stage_b.gradient_factor
    pairs, history = list(collected.stage.depth), collected.history
    figure = new_figure(max(3.0 * len(pairs), 4.6), 3.0)
    panels = figure.subplots(1, len(pairs), sharex=True, sharey=True, squeeze=False).ravel()
    colours = arm_colours([arm for arm, _ in pairs])
    for axes, (deep, shallow) in zip(panels, pairs, strict=True):
        for arm, line, width in ((shallow, ":", 1.0), (deep, "-", 1.4)):
            for _, rows in history[history["arm"] == arm].groupby("seed"):
                norms = pd.to_numeric(rows["grad_norm_p99"], errors="coerce")
                look = {"color": colours[deep], "linewidth": width}
                axes.plot(rows["epoch"], norms, ("." if len(rows) == 1 else "") + line, **look)
        bound = gradient_bound(collected.runs, shallow, factor)
        if bound is not None and bound > 0:
            axes.axhline(bound, color=REFERENCE, linestyle="--", linewidth=0.9)
            at, system = (0.02, bound), ("axes fraction", "data")
            axes.annotate(f"bound {bound:.3g}", at, xycoords=system, va="bottom", fontsize=7.5)
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
