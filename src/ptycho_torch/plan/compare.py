"""Predictions beside what then happened: the runs in a folder of results."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ptycho_torch import io
from ptycho_torch.config import InputError, RunSettings
from ptycho_torch.config.files import first_message
from ptycho_torch.plan.cost import Cost, Question, cost_of, fit_s, same_cost
from ptycho_torch.plan.workload import SPLITS, Workload

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
    rows, left_out = [], []
    for (dataset, arm), found in sorted(records.items()):
        together = [timing for _, timing in found if timing.get("seeds_together", 1) > 1]
        if together:
            left_out.append(f"{arm} on {dataset}: its seeds were trained together, in one process")
            continue
        rows.append(_row(dataset, arm, found, _workload(results, dataset), asked))
    return {"arms": rows, "left_out": left_out}


def _records(results: Path) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for path in sorted(results.glob("train/*/*/seed-*/run.json")):
        run, timing = io.read_json(path), io.read_json(path.parent / "timing.json")
        for key in ("settings", "steps", "epochs"):
            if key not in run:
                raise InputError(f"{path}: lacks '{key}'; delete it and train again")
        for key in ("wall_s", "peak_memory_mib", "threads"):
            if key not in timing:
                raise InputError(f"{path.parent / 'timing.json'}: lacks '{key}'; train again")
        found.setdefault((path.parts[-4], path.parts[-3]), []).append((run, timing))
    if not found:
        raise InputError(
            f"{results}: has no run.json below train/; --compare takes a study's folder of results"
        )
    return found


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
    dataset: str, arm: str, found: Sequence[Record], work: Workload, asked: Question
) -> dict[str, Any]:
    run = _settings(found[0][0], f"{arm} on {dataset}")
    threads = run.execution.model_copy(update={"threads": int(found[0][1]["threads"])})
    run = run.model_copy(update={"execution": threads})
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
        "dataset": dataset,
        "arm": arm,
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


def _settings(record: Mapping[str, Any], name: str) -> RunSettings:
    try:
        return RunSettings.model_validate(record["settings"])
    except ValidationError as error:
        raise InputError(
            f"{name}: run.json has settings of another version: {first_message(error)}"
        ) from None
