"""The decision gate: three hypotheses on why runs fail, in the order of their mitigations.

1. Spectral gradients are under a tenth of the local ones: "spectral scaling".
2. The loss has wrong units: "loss units".
3. The zero frequency dominates the activations: "input transform", asked only once the first two
   are clean, since both would move it.

A verdict is about the networks that were looked at. Beside the gate stands the growth of the mean
activation with depth, which decides nothing; two figures show it and the gradients against training
time. From the diagnoses' reports; without torch.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import COMPARED
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study, derive, run_settings
from ptycho_torch.files import io
from ptycho_torch.files.belonging import must_belong
from ptycho_torch.runtime import plot_style as style
from ptycho_torch.runtime.markdown import render
from ptycho_torch.statistics.estimates import holm, level, paired_difference

Entries = list[dict[str, Any]]
Groups = list[dict[str, Any]]
Paths = Sequence[io.PathLike]
_STATES = {"fresh": "untrained", "best": "trained (best weights)"}


def write_decision(
    *,
    gradients: Paths,
    activations: Paths,
    units: Paths,
    runs: Paths,
    histories: Paths,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    folder: io.PathLike,
) -> None:
    """Hold the hypotheses against the reports; write `decision.md`, `.json` and both figures.

    Inputs are the reports and `loss_units.json` of each dataset, `run.json` and `history.csv` of
    every trained run in the same order, and the configuration in force. `InputError` if that is
    wrong, a file is damaged, or a run was made with other settings.
    """
    parsed, made, by_epoch = parse_study(study, "study"), [], []
    for path, history in zip(runs, histories, strict=True):
        run = io.read_json(path)
        expected = run_settings(parsed, run["dataset"], run["arm"], run["seed"])
        made.append((path, run["settings"], expected.model_dump(mode="json")))
        by_epoch.append((run["arm"], io.read_csv(history)))
    must_belong(made, "train")
    several = len(units) > 1
    seen = _read(activations, several)
    checks: Entries = [io.read_json(path) for path in units]
    hypotheses = decide(parsed, gradients=_read(gradients, several), activations=seen, units=checks)
    open_ones = [item["name"] for item in hypotheses if item["verdict"] != "does not hold"]
    record = {
        "next": open_ones[0] if open_ones else None,
        "hypotheses": hypotheses,
        "growth": judge(seen, "growth_per_block", 1.0, parsed.statistics),
        "provenance": provenance,
    }
    more = {"study": parsed, "runs": len(runs), "units": checks, "open": open_ones}
    text = render("diagnose", "decision.md.j2", **record, **more)
    with style.styled():
        style.save(activation_depth(seen, parsed), folder, "activation_depth")
        style.save(gradient_ratio(by_epoch, parsed), folder, "gradient_ratio")
    io.write_json(Path(folder) / "decision.json", record)
    io.write_text(Path(folder) / "decision.md", text)


def _read(paths: Paths, several: bool) -> Entries:
    """Return all networks, named with their dataset if there are several."""
    entries: Entries = []
    for report in map(io.read_json, paths):
        prefix = f"{report['dataset']}/" if several else ""
        for entry in report["networks"]:
            network = entry["network"] | {"name": prefix + entry["network"]["name"]}
            entries.append({**entry, "network": network})
    return entries


def decide(study: Study, *, gradients: Entries, activations: Entries, units: Entries) -> Groups:
    """Return the three hypotheses in their order, `name` and `verdict` (`holds`, `does not hold`,
    `undecided`) with their evidence: `groups` of seeds, or the `failed_checks` of the loss's units.
    From the entries of all networks and the contents of each dataset's `loss_units.json`."""
    limits = study.diagnostics
    ratios = judge(gradients, "spectral_local_ratio", limits.min_gradient_ratio, study.statistics)
    shares = judge(activations, "dc_share", limits.max_dc_share, study.statistics)
    failed = [
        {"dataset": report["dataset"], **check}
        for report in units
        for check in report["checks"]
        if not check["passed"]
    ]
    verdicts = {
        "spectral scaling": (_of_groups(ratios, "below"), ratios, []),
        "loss units": ("holds" if failed else "does not hold", [], failed),
        "input transform": (_of_groups(shares, "above"), shares, []),
    }
    return [
        {"name": name, "verdict": verdict, "groups": groups, "failed_checks": checks}
        for name, (verdict, groups, checks) in verdicts.items()
    ]


def _of_groups(groups: Groups, side: str) -> str:
    """One group that is shown to be on the side is enough to hold; a hypothesis does not hold only
    if every group that has the number is shown not to be there."""
    sides = {group["side"] for group in groups if group["values"]}
    if side in sides:
        return "holds"
    return "does not hold" if sides and "undecided" not in sides else "undecided"


def judge(entries: Entries, key: str, threshold: float, settings: StatisticsSettings) -> Groups:
    """Return a group for each network, with the side of the threshold where its seeds show it.

    entries: of reports; their `key` is a positive number, or None where it is not defined. A group
    has `name` and `state`, `values` by seed, their geometric `mean` with its `interval`, `p` of the
    exact sign-flip test of log(number / threshold), which the interval inverts, and `side`:
    `below`, `above`, `at` (every value is the threshold), or `undecided`. Untrained networks and
    trained runs are a family each, whose p values are corrected by Holm.
    """
    groups: Groups = []
    for state in ("fresh", "best"):
        family: dict[str, dict[int, float]] = {}
        for entry in (e for e in entries if e["network"]["state"] == state):
            known = family.setdefault(entry["network"]["name"], {})
            if entry.get(key) is not None:
                known[entry["network"]["seed"]] = entry[key]
        # Zero counts as very small.
        logs = [
            [math.log(max(v / threshold, 1e-30)) for v in known.values()]
            for known in family.values()
        ]
        tests = [paired_difference(some, settings) for some in logs]
        corrected = iter(holm([test.p for test in tests if test.n]))
        for (name, values), some, test in zip(family.items(), logs, tests, strict=True):
            p, side = next(corrected) if test.n else None, "undecided"
            if some and max(map(abs, some)) <= 1e-6:
                side = "at"
            elif test.mean and p is not None and p <= level(settings.confidence):
                side = "below" if test.mean < 0 else "above"
            ends = test.interval._asdict() if test.interval else {}
            interval = {end: threshold * math.exp(log) for end, log in ends.items()} or None
            mean = None if test.mean is None else threshold * math.exp(test.mean)
            group = {"name": name, "state": state, "values": values, "mean": mean}
            groups.append({**group, "interval": interval, "p": p, "side": side})
    return groups


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
    looks = style.arm_looks(COMPARED, [*study.arms, *COMPARED], firsts)
    names, below = list(shown) or ["no network"], "Fourier block (last: bottleneck)"
    columns = len(study.diagnostics.depths)
    figure, panels = style.arm_panels(names, below, "mean |activation|", columns, "row")
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
        style.use_log_scale(axes)
    figure.legend(labels.values(), labels, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def gradient_ratio(histories: Sequence[tuple[str, pd.DataFrame]], study: Study) -> Figure:
    """Return spectral over local gradients by epoch: a panel per arm of the study, a line per run,
    those of its variants pale, the threshold dashed.

    histories: of every run its arm, and `epoch` and `spectral_local_ratio`.
    """
    threshold, bases = study.diagnostics.min_gradient_ratio, derive(study).bases
    looks = style.arm_looks(dict.fromkeys(bases.get(arm, arm) for arm, _ in histories), study.arms)
    figure, panels = style.arm_panels(list(looks) or ["no run"], "epoch", "spectral / local")
    for arm, axes in panels.items():
        for name, rows in [run for run in histories if arm in (run[0], bases.get(run[0]))]:
            ratio = rows["spectral_local_ratio"].astype(float)
            width, alpha = (1.3, 1.0) if name == arm else (0.8, 0.35)
            look = {"color": looks[arm]["color"], "linewidth": width, "alpha": alpha}
            axes.plot(rows["epoch"], ratio.where(ratio > 0), ".-", **look, markersize=3)
        axes.axhline(threshold, color=style.REFERENCE, linestyle="--", linewidth=0.9)
        style.use_log_scale(axes)
        axes.set_title(arm, fontsize=9)
    key = f"a line per run, of variants pale; dashed: threshold {threshold:g}; before clipping"
    figure.suptitle(key, fontsize=8)
    return figure
