"""Estimates beside what then happened: the runs in a folder of results."""

import statistics
from pathlib import Path

from pydantic import ValidationError

from ptycho_torch.config.base import mistake
from ptycho_torch.config.training import RunSettings
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.cost.run_cost import Estimator, Row, fit_s, not_counted
from ptycho_torch.train.cost.workload import SPLITS, Workload


def compare_results(results: io.PathLike, estimator: Estimator) -> Row:
    """Return estimated and measured memory and time of each arm that was trained.

    Parameters
    ----------
    results
        A study's folder of results, with `train/` and `simulate/`.
    estimator
        Times are those of this machine; they mean something for runs that were trained on it.

    Raises
    ------
    InputError
        If there is no run, or a run's files are torn or of another version.
    """
    results = Path(results)
    records: dict[tuple[str, str], list[tuple[Row, Row]]] = {}
    for path in sorted(results.glob("train/*/*/seed-*/run.json")):
        record = io.read_json(path), io.read_json(path.parent / "timing.json")
        records.setdefault((path.parts[-4], path.parts[-3]), []).append(record)
    if not records:
        raise InputError(
            f"{results}: has no run.json below train/; --compare takes a study's folder of results"
        )
    rows, left_out, runs = [], [], []
    for (dataset, arm), found in sorted(records.items()):
        device = found[0][1].get("device")
        if (device != "cpu") != estimator.gpu:
            left_out.append(f"{arm} on {dataset}: trained on {device}, not on a device as here")
            continue
        try:
            facts = io.read_json(results / "simulate" / dataset / "dataset.json")
            runs.append(RunSettings.model_validate(found[0][0]["settings"]))
            rows.append(_row(runs[-1], found, facts, estimator))
        except ValidationError as error:
            raise mistake(f"{arm} on {dataset}: settings of another version", error) from None
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{results}: {arm} on {dataset} is of another version (no {error}); make it again"
            ) from None
    return {"arms": rows, "left_out": left_out, "not_counted": not_counted(runs)}


def _row(run: RunSettings, found: list[tuple[Row, Row]], facts: Row, estimator: Estimator) -> Row:
    splits, scan = facts["splits"], facts["settings"].get("scan", {})
    work = Workload(
        patch_px=facts["patch_px"],
        channels=splits["train"]["channels"],
        groups={split: splits[split]["groups"] for split in SPLITS},
        reach_px=scan.get("group_offset_px", 0) if scan.get("gridsize", 1) > 1 else 0,
    )
    threads = run.execution.model_copy(update={"threads": int(found[0][1]["threads"])})
    cost, predicted = estimator.cost(run.model_copy(update={"execution": threads}), work), None
    if (seconds := cost["seconds"]) is not None:
        # What was trained, not what was meant to be: a run may have ended early.
        predicted = statistics.median(
            fit_s(seconds, work, steps=facts["steps"], epochs=facts["epochs"]) for facts, _ in found
        )
    wall, memory = (
        statistics.median(float(timing[key]) for _, timing in found)
        for key in ("wall_s", "peak_memory_mib")
    )
    return {
        "dataset": run.dataset,
        "arm": run.arm,
        "runs": len(found),
        "memory_mib": {"predicted": cost["memory_mib"]["peak"], "measured": memory},
        "wall_s": {"predicted": predicted, "measured": wall},
    }
