"""From the diagnoses' reports to `decision.md`, `decision.json` and the figures; without torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.diagnose.gate import decide, judge_drift, next_step, steady
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
    records = {path: io.read_result(path, "run") for path in runs}
    made = []
    for path, run in records.items():
        now = run_settings(parsed, run["dataset"], run["arm"], run["seed"])
        made.append((path, run["settings"], now.model_dump(mode="json")))
    must_belong(made, "train")
    several = len(units) > 1
    gradient_entries, _ = _read(gradients, several)
    activation_entries, inputs = _read(activations, several)
    checks = [io.read_json(path) for path in units]
    hypotheses = decide(
        parsed, gradients=gradient_entries, activations=activation_entries, units=checks
    )
    drift = judge_drift(activation_entries, parsed)
    networks = [
        {**activation, **gradient}
        for gradient, activation in zip(gradient_entries, activation_entries, strict=True)
    ]
    drawn_both_ways, norms = _initialisations(networks), _norm_weights(gradient_entries)
    failed = [n for n in networks if n["network"].get("outcome", "completed") != "completed"]
    groups = {key: [asdict(group) for group in drift[key]] for key in ("fresh", "trained")}
    record = {
        "next": next_step(hypotheses),
        "hypotheses": [asdict(item) for item in hypotheses],
        "drift": {**drift, **groups},
        "initialisations": drawn_both_ways,
        "norm_weights": norms,
        "failed": [item["network"] | {"unusable": item["unusable"]} for item in failed],
        "thresholds": parsed.diagnostics.model_dump(mode="json"),
        "provenance": dict(provenance),
    }
    text = render(
        "diagnose", "decision.md.j2", next=record["next"], study=parsed, runs=len(runs),
        hypotheses=hypotheses, drift=drift, steady=steady, initialisations=drawn_both_ways,
        norms=norms, units=checks, inputs=inputs, failed=failed, provenance=provenance,
    )  # fmt: skip
    from ptycho_torch.diagnose.figures import activation_depth, gradient_ratio
    from ptycho_torch.runtime.plot_style import save, styled  # matplotlib: slow to import

    settings = parsed.diagnostics
    history = _history(records.values(), histories, several)
    with styled():
        save(activation_depth(activation_entries, settings.depths), folder, "activation_depth")
        save(gradient_ratio(history, settings.min_gradient_ratio), folder, "gradient_ratio")
    io.write_json(Path(folder) / "decision.json", record)
    io.write_text(Path(folder) / "decision.md", text)


def _read(paths: Paths, several: bool) -> tuple[Entries, dict[str, Mapping[str, Any]]]:
    """Return all networks, named with their dataset if there are several, and inputs by dataset."""
    entries: Entries = []
    inputs: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        report = io.read_result(path, "diagnoses")
        prefix = f"{report['dataset']}/" if several else ""
        for entry in report["networks"]:
            network = entry["network"] | {"name": prefix + entry["network"]["name"]}
            entries.append({**entry, "network": network})
        if "inputs" in report:
            inputs[report["dataset"]] = report["inputs"]
    return entries, inputs


def _initialisations(networks: Entries) -> list[dict[Any, Any]]:
    """Return medians over seeds of untrained networks whose weights were drawn both ways."""
    columns = {
        "gradient_ratio": "spectral_local_ratio",
        "output_ratio": "spectral_local_output_ratio",
        "growth": "growth_per_block",
    }
    rows = [
        {key: entry[column] for key, column in columns.items()} | entry["network"]
        for entry in networks
        if entry["network"].get("initialisation") is not None
    ]
    twice = {row["name"] for row in rows if row["initialisation"] == "1/(in*out)"}
    labels = ["name", "initialisation"]
    table = pd.DataFrame([row for row in rows if row["name"] in twice], columns=[*labels, *columns])
    numbers = table.astype(dict.fromkeys(columns, float))
    medians = numbers.groupby(labels, sort=False).median().astype(object)
    return medians.where(medians.notna(), None).reset_index().to_dict("records")


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


def _history(runs: Iterable[Mapping[str, Any]], histories: Paths, several: bool) -> pd.DataFrame:
    """Return `arm`, `seed`, `epoch` and `spectral_local_ratio` of all runs."""
    columns = ["arm", "seed", "epoch", "spectral_local_ratio"]
    tables = []
    for run, path in zip(runs, histories, strict=True):
        name = f"{run['dataset']}/{run['arm']}" if several else run["arm"]
        tables.append(io.read_csv(path).assign(arm=name, seed=run["seed"])[columns])
    filled = [rows for rows in tables if len(rows)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
