"""From the diagnoses' reports to `decision.md`, `decision.json` and the figures; without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.read import parse_study
from ptycho_torch.diagnose.drift import judge_drift
from ptycho_torch.diagnose.gate import Facts, decide, next_step
from ptycho_torch.diagnose.prose import Comparison, Findings, decision_text
from ptycho_torch.files import io
from ptycho_torch.files.schemas import RunRecord, read_result
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.estimates import spread

Entries = list[dict[str, Any]]


def write_decision(
    *,
    gradients: Sequence[io.PathLike],
    activations: Sequence[io.PathLike],
    units: Sequence[io.PathLike],
    runs: Sequence[io.PathLike],
    histories: Sequence[io.PathLike],
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    folder: io.PathLike,
) -> None:
    """Hold the hypotheses against the reports; write `decision.md`, `.json` and both figures.

    Parameters
    ----------
    gradients, activations
        Reports of fresh networks and of trained runs, of each dataset.
    units
        `loss_units.json` of each dataset.
    runs, histories
        `run.json` and `history.csv` of every trained run, in the same order.
    study
        The configuration in force, as nested mappings.
    provenance
        What `provenance.collect_provenance` returns.
    folder
        Where the files go.

    Raises
    ------
    InputError
        If the configuration is wrong or a file is damaged.
    """
    parsed = parse_study(study, "study")
    checks = [io.read_json(path) for path in units]
    several = len(checks) > 1
    gradient_entries, _ = _read(gradients, several)
    activation_entries, inputs = _read(activations, several)
    generator = run_settings(parsed, parsed.stage_a.dataset, parsed.stage_a.control, 0).generator
    facts = Facts(
        gradients=gradient_entries,
        activations=activation_entries,
        units=checks,
        control=parsed.stage_a.control,
        modes=generator.modes,
    )
    found = Findings(
        study=parsed,
        hypotheses=decide(facts, parsed.diagnostics, parsed.statistics),
        drift=judge_drift(activation_entries, parsed.statistics),
        before_after=_before_after(gradient_entries, activation_entries),
        units=tuple(checks),
        inputs=inputs,
        failed=_failed(gradient_entries, activation_entries),
        runs=len(runs),
        provenance=provenance,
    )
    folder = Path(folder)
    history = _history(runs, histories, several)
    _draw(activation_entries, history, parsed.diagnostics, folder)
    io.write_json(folder / "decision.json", _as_json(found))
    io.write_text(folder / "decision.md", decision_text(found))


def _draw(
    activations: Entries, history: pd.DataFrame, settings: DiagnosticsSettings, folder: Path
) -> None:
    from ptycho_torch.diagnose.figures import activation_depth, gradient_ratio
    from ptycho_torch.runtime.plot_style import save, styled  # matplotlib: slow to import

    arms = list(dict.fromkeys(history["arm"])) if len(history) else []
    with styled():
        save(activation_depth(activations, list(settings.depths)), folder, "activation_depth")
        figure = gradient_ratio(history, arms, settings.min_gradient_ratio)
        save(figure, folder, "gradient_ratio")


def _read(
    paths: Sequence[io.PathLike], several: bool
) -> tuple[Entries, dict[str, Mapping[str, Any]]]:
    """Return all networks, named with their dataset if there are several, and inputs by dataset."""
    entries: Entries = []
    inputs: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        report = io.read_json(path)
        for key in ("dataset", "networks"):
            if key not in report:
                raise InputError(f"{path}: lacks '{key}': it is no report of the diagnoses")
        for entry in report["networks"]:
            network = dict(entry["network"])
            if several:
                network["name"] = f"{report['dataset']}/{network['name']}"
            entries.append({**entry, "network": network})
        if "inputs" in report:
            inputs[report["dataset"]] = report["inputs"]
    return entries, inputs


def _before_after(gradients: Entries, activations: Entries) -> tuple[Comparison, ...]:
    """Return medians over seeds of fresh networks that were drawn both ways."""
    twice = {
        e["network"]["name"]
        for e in gradients
        if e["network"].get("initialisation") == "1/(in*out)"
    }
    keys = dict.fromkeys(
        (e["network"]["name"], e["network"]["initialisation"])
        for e in gradients
        if e["network"]["state"] == "fresh" and e["network"]["name"] in twice
    )

    def median(entries: Entries, key: tuple[str, str], column: str) -> float | None:
        values = [
            e[column]
            for e in entries
            if (e["network"]["name"], e["network"].get("initialisation")) == key
            and e[column] is not None
        ]
        return spread(values).median

    return tuple(
        Comparison(
            name=key[0],
            initialisation=key[1],
            gradient_ratio=median(gradients, key, "spectral_local_ratio"),
            output_ratio=median(activations, key, "spectral_local_output_ratio"),
            growth=median(activations, key, "growth_per_block"),
        )
        for key in keys
    )


def _failed(gradients: Entries, activations: Entries) -> tuple[Mapping[str, Any], ...]:
    """Return what is known of runs that failed in training, best and last weights."""
    return tuple(
        {**activation, **gradient}
        for gradient, activation in zip(gradients, activations, strict=True)
        if gradient["network"].get("outcome", "completed") != "completed"
    )


def _history(
    runs: Sequence[io.PathLike], histories: Sequence[io.PathLike], several: bool
) -> pd.DataFrame:
    tables = []
    for run_path, path in zip(runs, histories, strict=True):
        run, rows = read_result(run_path, RunRecord), io.read_csv(path)
        if "spectral_local_ratio" not in rows.columns:
            raise InputError(
                f"{path}: lacks the column 'spectral_local_ratio'; train the run again"
            )
        name = f"{run['dataset']}/{run['arm']}" if several else run["arm"]
        tables.append(rows.assign(arm=name, seed=run["seed"]))
    columns = ["arm", "seed", "epoch", "spectral_local_ratio"]
    filled = [rows[columns] for rows in tables if len(rows)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def _as_json(found: Findings) -> dict[str, Any]:
    hypotheses = []
    for item in found.hypotheses:
        data = asdict(item)
        data["groups"] = [group.as_json() for group in item.groups]
        hypotheses.append(data)
    drift = asdict(found.drift)
    for key, groups in (("fresh", found.drift.fresh), ("trained", found.drift.trained)):
        drift[key] = [group.as_json() for group in groups]
    return {
        "next": next_step(found.hypotheses),
        "hypotheses": hypotheses,
        "drift": drift,
        "initialisations": [asdict(item) for item in found.before_after],
        "failed": [item["network"] | {"unusable": item["unusable"]} for item in found.failed],
        "thresholds": found.study.diagnostics.model_dump(mode="json"),
        "provenance": dict(found.provenance),
    }
