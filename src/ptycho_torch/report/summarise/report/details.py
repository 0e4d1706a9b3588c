"""Failures one by one, gradients, phase, and the figures with their captions."""

from typing import Any

import pandas as pd

from ptycho_torch.config.arms import run_settings
from ptycho_torch.report.summarise.findings import Findings, why_missing
from ptycho_torch.runtime.markdown import (
    number,
    percent,
    plain,
    signed,
    spread_text,
    table,
)
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.runs import score_spread
from ptycho_torch.statistics.scores import (
    PHASE_SSIM,
    PHASE_SSIM_STITCHED,
)


def failures(findings: Findings) -> str:
    """Return the failed runs one by one."""
    failed = findings.runs[findings.runs["failed"].astype(bool)]
    if failed.empty:
        return "## Failures, one by one\n\nNo run failed."
    rows = [
        [
            f"`{run['arm']}`",
            str(run["seed"]),
            f"`{run['outcome']}`",
            _when(run, "epoch"),
            _when(run, "step"),
            str(run["reason"]),
        ]
        for _, run in failed.iterrows()
    ]
    header = ("arm", "seed", "outcome", "epoch", "step", "reason")
    return f"## Failures, one by one\n\n{table(header, rows)}"


def _when(run: "pd.Series[Any]", unit: str) -> str:
    value = f"{int(run[f'failure_{unit}']):,}"
    return value if run["failure_found"] == "training" else f"{value} (found at the end)"


def gradients(findings: Findings) -> str:
    """Return gradient norms and clipping by arm, over all runs."""
    rows = []
    for arm in findings.stage.arms:
        runs = findings.runs[findings.runs["arm"] == arm]
        clip = run_settings(findings.study, findings.stage.dataset, arm, seed=0).execution.clip
        rule, *limits = clip.model_dump().items()
        setting = ", ".join([str(rule[1]), *(f"{key} {plain(value)}" for key, value in limits)])
        norms = [
            number(estimates.spread(runs[f"grad_norm_{key}"].astype(float).tolist()).median)
            for key in ("median", "p99")
        ]
        largest = number(runs["grad_norm_max"].astype(float).max())
        share = estimates.spread(runs["clipped_share"].astype(float).tolist()).median
        spikes = str(int(runs["loss_spikes"].sum()))
        rows.append([f"`{arm}`", setting, *norms, largest, percent(share), spikes, str(len(runs))])
    header = (
        "arm",
        "clipping",
        "median norm",
        "99th percentile",
        "largest of all runs",
        "clipped share",
        "loss spikes",
        "runs",
    )
    return (
        f"## Gradient norms and clipping\n\n{table(header, rows)}\n\nNorms before clipping, over "
        "the steps of a run; medians over all runs, failed ones included. Clipped share: units "
        "for AGC, elements for value, steps for norm. Loss spikes: steps of all runs together "
        "whose loss was beyond the multiple of `exploded`; a run outlives a short one."
    )


def phase(findings: Findings) -> str:
    """Return what synchronising the patches' phases changes."""
    reason = findings.collected.undefined.get(PHASE_SSIM.name)
    if reason:
        return f"## Phase, as stitched and synchronised\n\nNot defined: {reason}."
    rows = []
    for arm in findings.stage.arms:
        runs = findings.runs[(findings.runs["arm"] == arm) & ~findings.runs["failed"]]
        change = runs[PHASE_SSIM.column].astype(float) - runs[PHASE_SSIM_STITCHED.column].astype(
            float
        )
        stitched, synchronised = (
            spread_text(score_spread(runs, arm, score.column), why_missing(findings, arm, score))
            for score in (PHASE_SSIM_STITCHED, PHASE_SSIM)
        )
        rows.append(
            [f"`{arm}`", stitched, synchronised, signed(estimates.spread(change.tolist()).median)]
        )
    header = (
        "arm",
        "phase SSIM as stitched",
        "phase SSIM synchronised",
        "median change within a run",
    )
    return (
        f"## Phase, as stitched and synchronised\n\n{table(header, rows)}\n\nA pattern does not "
        "fix the phase constant of its patch, so tiles may differ by a constant. Synchronising "
        "takes the constants from the patches' overlaps and uses no truth. A large gain means "
        "that constants, not shapes, were wrong. A loss means that small errors of the overlaps "
        "added up across the image."
    )


def figures(findings: Findings) -> str:
    """Return the figures with their captions."""
    parts = ["## Figures"]
    for name, title in FIGURES.items():
        parts.append(
            f"![{title}]({name}.png)\n\n**{title}.** {_caption(name, findings)} ([SVG]({name}.svg))"
        )
    return "\n\n".join(parts)


FIGURES = {
    "learning_curves": "Learning curves",
    "metric_spread": "Spread over seeds",
    "reconstructions": "Reconstructions beside the truth",
    "survival": "Time to failure",
}
"""File name -> title."""


def _caption(name: str, findings: Findings) -> str:
    if name == "learning_curves":
        return (
            "Loss by epoch, a line per seed: validation solid, training dotted, the other arms "
            "pale. A cross marks a failed run at its epoch; the outcomes of evaluation are "
            "found at the end of training."
        )
    if name == "metric_spread":
        return (
            "A dot per successful run, a cross per failed run; bars are medians of successful "
            "runs. Dashed and dotted lines: what a constant image (or predicting nothing) and "
            "the truth (or the noise) score."
        )
    if name == "reconstructions":
        tail = ""
        if PHASE_SSIM.name in findings.collected.undefined:
            tail = f" Phase is not defined: {findings.collected.undefined[PHASE_SSIM.name]}."
        return (
            "Of each arm the successful run of median amplitude SSIM (of an even number, the "
            "lower of the two in the middle), and one failed run if there is one. All images of "
            f"a kind share the truth's scale; first test image.{tail}"
        )
    return (
        "Kaplan-Meier estimate of the share of runs that have not failed. Completed runs are "
        "censored at their last epoch. `twin`, `misfit` and `stagnated`, and a `collapsed` that "
        "training let pass, are found at the end of training and count as failures at the last "
        "epoch, so the curve says nothing of when they began."
    )
