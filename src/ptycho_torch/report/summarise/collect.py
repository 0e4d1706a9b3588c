"""Read what the runs of a stage left behind into one tidy table: a row per run.

A file is known by its folder, `<dataset>/<arm>/seed-<n>`, and what it says of itself must agree.
A missing or foreign file is an error that names it: a stage is summarised whole or not at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.files.schemas import DatasetFacts, Judgement, RunRecord, Timing, read_result
from ptycho_torch.report.summarise.conventional import Conventional, read_conventional
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.scores import BLOCK_NAMES, COMPLETED, OUTCOMES, STOPPING

Run = tuple[str, int]
"""(arm, seed) within the stage's dataset."""

_GRADIENT = ("median", "p99", "max")
_RUN_KEYS = (
    *("val_loss_name", "best_epoch", "best_val_loss", "last_val_loss"),
    *("best_mae_val_loss", "first_loss"),
)
_TIMING_KEYS = (
    "wall_s",
    "inference_s",
    "samples_per_s",
    "peak_memory_mib",
    "device",
    "threads",
    "commit",
    "platform",
)
_TWIN_KEYS = ("share", "distinct_patches", "patches", "direct_correlation", "twin_correlation")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFiles:
    """Files of every run of a stage, in any order, and of its dataset."""

    metrics: Sequence[PathLike]
    """`metrics.json` of each run."""

    runs: Sequence[PathLike]
    """`run.json` of each run."""

    timings: Sequence[PathLike]
    """`timing.json` of each run."""

    histories: Sequence[PathLike]
    """`history.csv` of each run."""

    reconstructions: Sequence[PathLike]
    """`reconstruction.npz` of each run."""

    dataset: PathLike
    """`dataset.json`."""

    conventional: Sequence[PathLike] = ()
    """`metrics.json` and `progress.json` of the conventional reconstruction; none: not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Everything that a summary is made from."""

    runs: pd.DataFrame
    """A row per run, in the order of arms and seeds; what is not defined is missing."""

    history: pd.DataFrame
    """A row per run and finished epoch."""

    baselines: dict[str, dict[str, float | None]]
    """Scores of the `constant` image, the noise-free `truth`, the `conventional` reconstruction."""

    undefined: dict[str, str]
    """Scores that no run has -> reason."""

    undefined_baselines: dict[str, str]
    """`constant.name` or `truth.name` of baselines that have no such score -> reason."""

    dataset: dict[str, Any]
    """`dataset.json`."""

    reconstructions: dict[Run, Path]
    """Files to draw from."""

    conventional: Conventional | None
    """The conventional reconstruction of the same data; None: the study has none."""


def collect(files: StageFiles, stage: StagePlan) -> Collected:
    """Read all runs of a stage.

    Parameters
    ----------
    files
        Exactly one file of each kind for every arm and seed.
    stage
        Arms, seeds and dataset that the files must belong to.

    Raises
    ------
    InputError
        If a file is missing, unreadable, of another run, of other data, or lacks a key.
    """
    dataset = read_result(files.dataset, DatasetFacts)
    records = _by_run(files.runs, "run.json", stage)
    metrics = _by_run(files.metrics, "metrics.json", stage)
    timings = _by_run(files.timings, "timing.json", stage)
    histories = _by_run(files.histories, "history.csv", stage)
    reconstructions = _by_run(files.reconstructions, "reconstruction.npz", stage)

    rows, judged, tables = [], [], []
    for run in _expected(stage):
        record = _read_run(records[run], run, stage.dataset, dataset)
        judgement = _read_metrics(metrics[run], run, stage.dataset, record)
        timing = read_result(timings[run], Timing)
        rows.append(_row(record, judgement, timing))
        judged.append(judgement)
        history = io.read_csv(histories[run])
        for column in ("epoch", record["val_loss_name"]):
            if column not in history:
                raise InputError(f"{histories[run]}: lacks the column '{column}'; train again")
        if clash := {"dataset", "arm", "seed"} & set(history.columns):
            raise InputError(f"{histories[run]}: has a column '{min(clash)}'; train again")
        history.insert(0, "dataset", stage.dataset)
        history.insert(1, "arm", run[0])
        history.insert(2, "seed", run[1])
        tables.append(history)
    conventional = read_conventional(files.conventional, dataset)
    baselines = {name: _baseline(judged, name) for name in ("constant", "truth")}
    if conventional is not None:
        baselines[conventional.name] = conventional.scores
    return Collected(
        runs=pd.DataFrame(rows),
        history=_stack(tables),
        baselines=baselines,
        undefined=_undefined_everywhere(judged),
        undefined_baselines={
            f"{block}.{name}": _reason(judged, f"{block}.{name}", name)
            for block in ("constant", "truth")
            for name in BLOCK_NAMES
        },
        dataset=dataset,
        reconstructions=reconstructions,
        conventional=conventional,
    )


def _expected(stage: StagePlan) -> Iterator[Run]:
    return ((arm, seed) for arm in stage.arms for seed in stage.seed_list)


def _by_run(paths: Sequence[PathLike], name: str, stage: StagePlan) -> dict[Run, Path]:
    """Return the file of each expected run; refuse gaps, strangers and doubles."""
    expected = {(stage.dataset, arm, f"seed-{seed}"): (arm, seed) for arm, seed in _expected(stage)}
    found: dict[Run, Path] = {}
    for path in map(Path, paths):
        run = expected.get((path.parent.parent.parent.name, *path.parent.parts[-2:]))  # type: ignore[arg-type]
        if run is None or path.name != name:
            raise InputError(
                f"{path}: is no {name} of this stage (dataset {stage.dataset}; arms "
                f"{', '.join(stage.arms)}; seeds {', '.join(map(str, stage.seed_list))})"
            )
        if run in found:
            raise InputError(f"{path}: {found[run]} is already there for the same run")
        found[run] = path
    for folder, run in expected.items():
        if run not in found:
            raise InputError(f"{'/'.join(folder)}/{name}: is missing; make the run first")
    return found


def _read_run(path: Path, run: Run, name: str, dataset: Mapping[str, Any]) -> dict[str, Any]:
    record = read_result(path, RunRecord)
    _same_run(record, path, run, name)
    described = {split: facts["sha256"] for split, facts in dataset["splits"].items()}
    if record["dataset_sha256"] != described:
        raise InputError(
            f"{path}: was made with other data (SHA-256 {record['dataset_sha256']}) than "
            f"dataset.json describes ({described}); delete this run and make it again"
        )
    return record


def _read_metrics(path: Path, run: Run, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    metrics = read_result(path, Judgement)
    _same_run(metrics, path, run, name)
    outcome, trained = metrics["outcome"], record["outcome"]
    if outcome not in OUTCOMES:
        raise InputError(f"{path}: outcome is '{outcome}', expected one of {', '.join(OUTCOMES)}")
    if trained in STOPPING and outcome != trained:
        raise InputError(
            f"{path}: outcome is '{outcome}', but run.json says '{trained}'; evaluate it again"
        )
    return metrics


def _same_run(data: Mapping[str, Any], path: Path, run: Run, dataset: str) -> None:
    said = (data["dataset"], data["arm"], data["seed"])
    if said != (dataset, *run):
        raise InputError(
            f"{path}: says it is dataset {said[0]}, arm {said[1]}, seed {said[2]}; its folder "
            f"says {dataset}, {run[0]}, {run[1]}; put it back or make it again"
        )


def _row(
    record: Mapping[str, Any], metrics: Mapping[str, Any], timing: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the row of one run; a failure found at the end counts at the last epoch."""
    outcome = metrics["outcome"]
    failed = outcome != COMPLETED
    failure = record["failure"] or {}
    twin = metrics["twin"] or {}
    row = {
        "dataset": record["dataset"],
        "arm": record["arm"],
        "seed": record["seed"],
        "outcome": outcome,
        "failed": failed,
        "failure_epoch": (failure.get("epoch") or max(record["epochs"], 1)) if failed else None,
        "failure_found": ("training" if failure else "evaluation") if failed else None,
        "failure_step": (failure.get("step") or record["steps"]) if failed else None,
        "reason": failure.get("reason") or metrics["reason"],
        "epochs": record["epochs"],
        "steps": record["steps"],
        **{key: record[key] for key in _RUN_KEYS},
        "parameters_stored": record["parameters"]["stored"],
        "parameters_full": record["parameters"]["full"],
        **{f"grad_norm_{key}": (record["gradient_norm"] or {}).get(key) for key in _GRADIENT},
        "clipped_share": record["clipped_share"],
        "loss_spikes": record["loss_spikes"],
        **{f"twin_{key}": twin.get(key) for key in _TWIN_KEYS},
        **{key: timing[key] for key in _TIMING_KEYS},
        "torch": record["versions"].get("torch"),
    }
    for block in ("best", "last"):
        scores = metrics[block] or {}
        row |= {f"{block}_{name}": scores.get(name) for name in BLOCK_NAMES}
    row["undefined"] = "; ".join(f"{k}: {v}" for k, v in sorted(metrics["undefined"].items()))
    return row


def _baseline(judged: Sequence[Mapping[str, Any]], block: str) -> dict[str, float | None]:
    """Return the first defined value of each score; baselines do not depend on the run."""
    values: dict[str, float | None] = {}
    for name in BLOCK_NAMES:
        found = ((metrics[block] or {}).get(name) for metrics in judged)
        values[name] = next((value for value in found if value is not None), None)
    return values


def _undefined_everywhere(judged: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the reasons of scores that no run has."""
    reasons: dict[str, str] = {}
    for name in BLOCK_NAMES:
        if all((metrics["best"] or {}).get(name) is None for metrics in judged):
            reasons[name] = _reason(judged, name)
    return reasons


def _reason(judged: Sequence[Mapping[str, Any]], *names: str) -> str:
    """Return the first reason that a run gives for the first of these names."""
    said = (metrics["undefined"].get(name) for name in names for metrics in judged)
    reason = next((text for text in said if text), "no reason was recorded")
    # The sentence round it says this already.
    return reason.removeprefix("not defined: ")


def _stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or list(tables[:1]), ignore_index=True)
