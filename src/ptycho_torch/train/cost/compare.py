"""Predictions beside what then happened: the runs in a folder of results."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ptycho_torch.config.base import mistake
from ptycho_torch.config.training import RunSettings
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.cost.cost import Cost, Question, cost_of, fit_s, same_cost
from ptycho_torch.train.cost.limits import not_counted
from ptycho_torch.train.cost.workload import SPLITS, Workload

logger = logging.getLogger(__name__)

Record = tuple[Mapping[str, Any], Mapping[str, Any]]
"""`run.json` and `timing.json` of a run."""


def compare_results(results: io.PathLike, asked: Question) -> dict[str, Any]:
    """Return predicted and measured memory and time of each arm that was trained.

    Parameters
    ----------
    results
        A study's folder of results, with `train/` and `simulate/`.
    asked
        Times are predicted for this machine; they mean something for runs that were trained on it.

    Raises
    ------
    InputError
        If there is no run, or a run's files are torn or do not say what is needed.
    """
    results = Path(results)
    records = _records(results)
    rows, left_out, runs = [], [], []
    for (dataset, arm), found in sorted(records.items()):
        if reason := _not_comparable(found, asked):
            left_out.append(f"{arm} on {dataset}: {reason}")
            continue
        runs.append(_settings(found[0], f"{arm} on {dataset}"))
        rows.append(_row(runs[-1], found, _workload(results, dataset), asked))
    return {"arms": rows, "left_out": left_out, "not_counted": not_counted(runs)}


def _not_comparable(found: Sequence[Record], asked: Question) -> str | None:
    timings = [timing for _, timing in found]
    here = "a GPU" if asked.gpu else "a CPU"
    if any((timing.get("device") != "cpu") != asked.gpu for timing in timings):
        return f"trained on {timings[0].get('device')}, and this plan is for {here}"
    return None


def _records(results: Path) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for path in sorted(results.glob("train/*/*/seed-*/run.json")):
        run, timing = io.read_json(path), io.read_json(path.parent / "timing.json")
        for key in ("steps", "epochs"):
            _check_number(path, run, key, least=0)
        for key in ("wall_s", "peak_memory_mib", "threads"):
            _check_number(path.parent / "timing.json", timing, key, least=1e-3)
        found.setdefault((path.parts[-4], path.parts[-3]), []).append((run, timing))
    if not found:
        raise InputError(
            f"{results}: has no run.json below train/; --compare takes a study's folder of results"
        )
    return found


def _check_number(path: Path, values: Mapping[str, Any], key: str, *, least: float) -> None:
    value = values.get(key)
    if not isinstance(value, int | float) or not value >= least:
        raise InputError(
            f"{path}: {key} is {value!r}, expected a number >= {least:g}; delete it and train again"
        )


def _workload(results: Path, dataset: str) -> Workload:
    path = results / "simulate" / dataset / "dataset.json"
    facts = io.read_json(path)
    try:
        splits = facts["splits"]
        scan = facts["settings"].get("scan", {})
        return Workload(
            patch_px=facts["patch_px"],
            channels=splits["train"]["channels"],
            groups={split: splits[split]["groups"] for split in SPLITS},
            reach_px=scan.get("group_offset_px", 0) if scan.get("gridsize", 1) > 1 else 0,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: lacks {error}; simulate the dataset again") from None


def _row(
    run: RunSettings, found: Sequence[Record], work: Workload, asked: Question
) -> dict[str, Any]:
    cost = _cost(run, work, asked)
    wall = statistics.median(float(timing["wall_s"]) for _, timing in found)
    peak = statistics.median(float(timing["peak_memory_mib"]) for _, timing in found)
    took = None
    if cost.pace is not None:
        # What was trained, not what was planned: a run may have ended early.
        pace = cost.pace
        took = statistics.median(
            fit_s(pace, work, steps=int(record["steps"]), epochs=int(record["epochs"]))
            for record, _ in found
        )
    return {
        "dataset": run.dataset,
        "arm": run.arm,
        "runs": len(found),
        "memory_mib": {"predicted": cost.memory.peak, "measured": peak},
        "wall_s": {"predicted": took, "measured": wall},
    }


_COSTS: dict[str, Cost] = {}


def _cost(run: RunSettings, work: Workload, asked: Question) -> Cost:
    key = f"{same_cost(run)} {work} {asked}"
    if key not in _COSTS:
        logger.info("%s on %s ...", run.arm, run.dataset)
        _COSTS[key] = cost_of(run, work, replace(asked, largest=False))
    return _COSTS[key]


def _settings(record: Record, name: str) -> RunSettings:
    """Return a run's settings, with the threads that it had."""
    told, timing = record
    try:
        run = RunSettings.model_validate(told.get("settings"))
    except ValidationError as error:
        raise mistake(f"{name}: run.json has settings of another version", error) from None
    threads = run.execution.model_copy(update={"threads": int(timing["threads"])})
    return run.model_copy(update={"execution": threads})
