"""From the diagnoses' reports to `decision.md`, `decision.json` and the figures; without torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.diagnose.gate import decide, judge_drift
from ptycho_torch.files import io
from ptycho_torch.files.belonging import must_belong
from ptycho_torch.runtime.templates import render

Entries = list[dict[str, Any]]
Paths = Sequence[io.PathLike]


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
    every trained run in the same order, the configuration in force, and what
    `provenance.collect_provenance` returns. `InputError` if the configuration is wrong, a file is
    damaged, or a run was made with other settings.
    """
    parsed = parse_study(study, "study")
    records = {path: io.read_json(path) for path in runs}
    made = []
    for path, run in records.items():
        now = run_settings(parsed, run["dataset"], run["arm"], run["seed"])
        made.append((path, run["settings"], now.model_dump(mode="json")))
    must_belong(made, "train")
    several = len(units) > 1
    gradient_entries, activation_entries = _read(gradients, several), _read(activations, several)
    history = _history(records.values(), histories, several)
    checks = [io.read_json(path) for path in units]
    hypotheses = decide(
        parsed, gradients=gradient_entries, activations=activation_entries, units=checks
    )
    drift, growths = judge_drift(activation_entries, parsed)
    open_ones = [item.name for item in hypotheses if item.verdict != "does not hold"]
    record = {
        "next": open_ones[0] if open_ones else None,
        "hypotheses": [asdict(item) for item in hypotheses],
        "drift": {"verdict": drift, "groups": [asdict(group) for group in growths]},
        "norm_weights": _norm_weights(gradient_entries),
        "failed": _failed(gradient_entries, activation_entries, history),
        "thresholds": parsed.diagnostics.model_dump(mode="json"),
        "provenance": dict(provenance),
    }
    shown = record | {"hypotheses": hypotheses, "growths": growths}
    text = render(
        "diagnose", "decision.md.j2", **shown, study=parsed, runs=len(runs), units=checks,
        open=open_ones,
    )  # fmt: skip
    from ptycho_torch.diagnose.figures import activation_depth, gradient_ratio
    from ptycho_torch.runtime.plot_style import save, styled  # matplotlib: slow to import

    settings = parsed.diagnostics
    with styled():
        save(activation_depth(activation_entries, settings.depths), folder, "activation_depth")
        save(gradient_ratio(history, settings.min_gradient_ratio), folder, "gradient_ratio")
    io.write_json(Path(folder) / "decision.json", record)
    io.write_text(Path(folder) / "decision.md", text)


def _read(paths: Paths, several: bool) -> Entries:
    """Return all networks, named with their dataset if there are several."""
    entries: Entries = []
    for path in paths:
        report = io.read_json(path)
        prefix = f"{report['dataset']}/" if several else ""
        for entry in report["networks"]:
            network = entry["network"] | {"name": prefix + entry["network"]["name"]}
            entries.append({**entry, "network": network})
    return entries


def _norm_weights(gradients: Entries) -> list[dict[str, Any]]:
    """Return what the norms of trained networks let through, a row a network: the least and the
    largest of its blocks' mean moduli, and the share of all weights near zero."""
    rows = []
    for entry in gradients:
        blocks = [row["norm_weights"] for row in entry.get("blocks", []) if row["norm_weights"]]
        if blocks and entry["network"]["state"] != "fresh":
            count = sum(block["count"] for block in blocks)
            near = sum(block["near_zero"] * block["count"] for block in blocks) / count
            means = [block["mean"] for block in blocks if block["mean"] is not None]
            ends = {"least": min(means, default=None), "largest": max(means, default=None)}
            rows.append({**entry["network"], **ends, "near_zero": near})
    return rows


def _failed(gradients: Entries, activations: Entries, history: pd.DataFrame) -> Entries:
    """Return the runs that failed in training, a row for each of their weights: why there are no
    numbers, spectral share and growth, and the gradient norm's 99th percentile in the first and in
    the last epoch before the failure."""
    norms = {name: run["grad_norm_p99"].tolist() for name, run in history.groupby(["arm", "seed"])}
    rows = []
    for gradient, activation in zip(gradients, activations, strict=True):
        network = gradient["network"]
        if network.get("outcome", "completed") != "completed":
            seen = norms.get((network["name"], network["seed"])) or [None]
            numbers = {
                "spectral_local_ratio": gradient.get("spectral_local_ratio"),
                "growth_per_block": activation.get("growth_per_block"),
                "first_grad_norm": io.finite_or_none(seen[0]),
                "last_grad_norm": io.finite_or_none(seen[-1]),
            }
            rows.append({**network, "unusable": gradient["unusable"], **numbers})
    return rows


def _history(runs: Iterable[Mapping[str, Any]], histories: Paths, several: bool) -> pd.DataFrame:
    """Return `arm`, `seed` and what follows training by epoch, of all runs."""
    columns = ["arm", "seed", "epoch", "spectral_local_ratio", "grad_norm_p99"]
    tables = []
    for run, path in zip(runs, histories, strict=True):
        name = f"{run['dataset']}/{run['arm']}" if several else run["arm"]
        tables.append(io.read_csv(path).assign(arm=name, seed=run["seed"])[columns])
    filled = [rows for rows in tables if len(rows)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
