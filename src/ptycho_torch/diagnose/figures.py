"""The diagnoses in two figures: activations against depth, and gradients against training time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ptycho_torch.config.plan import COMPARED
from ptycho_torch.config.study import Study, derive
from ptycho_torch.runtime.plot_style import REFERENCE, arm_looks, arm_panels, use_log_scale

Entries = Sequence[Mapping[str, Any]]
_STATES = {"fresh": "untrained", "best": "trained (best weights)"}


def activation_depth(entries: Entries, study: Study) -> Figure:
    """Return the mean modulus of the Fourier blocks' outputs against their place; 0: the input.

    A panel per depth, of untrained networks and of trained runs. A thin line per network, a thick
    one for the geometric mean over those of a kind, in the colour of the first arm of that kind.
    """
    shown: dict[str, dict[str, list[list[float]]]] = {}
    for entry in entries:
        network, blocks = entry["network"], entry.get("blocks")
        depth, kind = network["fno_blocks"], network["generator"]
        compared = kind in COMPARED and depth in study.diagnostics.depths
        if blocks and compared and network["state"] in _STATES:
            line = [blocks[0]["input_mean"], *(block["output_mean"] for block in blocks)]
            if all(line):
                title = f"{_STATES[network['state']]}, {depth} blocks"
                shown.setdefault(title, {}).setdefault(kind, []).append(line)
    firsts = {derive(study).blocks[arm]["generator"]["name"]: arm for arm in reversed(study.arms)}
    looks = arm_looks(COMPARED, [*study.arms, *COMPARED], firsts)
    names, below = list(shown) or ["no network"], "Fourier block (last: bottleneck)"
    columns = len(study.diagnostics.depths)
    figure, panels = arm_panels(names, below, "mean |activation|", columns, "row")
    labels: dict[str, Any] = {}
    for title, axes in panels.items():
        for kind, lines in shown.get(title, {}).items():
            # Dashes, since at its start the last lies on another.
            dashes = (0, (2, 2)) if kind == COMPARED[-1] else "-"
            look = {"color": looks[kind]["color"], "linestyle": dashes}
            axes.plot(np.transpose(lines), **look, linewidth=0.7, alpha=0.4)
            mean = np.exp(np.log(lines).mean(axis=0))
            (labels[kind],) = axes.plot(mean, **look, marker=".", linewidth=2.2)
        axes.set_title(title, fontsize=9)
        use_log_scale(axes)
    figure.legend(labels.values(), labels, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def gradient_ratio(histories: Sequence[tuple[str, pd.DataFrame]], study: Study) -> Figure:
    """Return spectral over local gradients by epoch: a panel per arm of the study, a line per run,
    those of its variants pale, the threshold dashed.

    histories: of every run its arm, and `epoch` and `spectral_local_ratio`.
    """
    threshold, bases = study.diagnostics.min_gradient_ratio, derive(study).bases
    looks = arm_looks(dict.fromkeys(bases.get(arm, arm) for arm, _ in histories), study.arms)
    figure, panels = arm_panels(list(looks) or ["no run"], "epoch", "spectral / local")
    for arm, axes in panels.items():
        for name, rows in [run for run in histories if arm in (run[0], bases.get(run[0]))]:
            ratio = rows["spectral_local_ratio"].astype(float)
            width, alpha = (1.3, 1.0) if name == arm else (0.8, 0.35)
            look = {"color": looks[arm]["color"], "linewidth": width, "alpha": alpha}
            axes.plot(rows["epoch"], ratio.where(ratio > 0), ".-", **look, markersize=3)
        axes.axhline(threshold, color=REFERENCE, linestyle="--", linewidth=0.9)
        use_log_scale(axes)
        axes.set_title(arm, fontsize=9)
    key = f"a line per run, of variants pale; dashed: threshold {threshold:g}; before clipping"
    figure.suptitle(key, fontsize=8)
    return figure
