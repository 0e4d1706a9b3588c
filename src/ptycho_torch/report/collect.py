"""Read what the runs of a stage left behind into one tidy table: a row per run.

A file is known by its folder, `<dataset>/<arm>/seed-<n>`. A missing or foreign file is an error
that names it: a stage is summarised whole or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.files.schemas import read_result
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.scores import BLOCK_NAMES, COMPLETED

Run = tuple[str, int]
"""(arm, seed) within the stage's dataset."""

Files = Mapping[str, Sequence[PathLike]]
"""Kind of `KINDS` -> that file of every run, in any order."""

KINDS = {
    "runs": "run.json",
    "timings": "timing.json",
    "histories": "history.csv",
    "metrics": "metrics.json",
    "reconstructions": "reconstruction.npz",
}

_RUN_KEYS = (
    *("val_loss_name", "best_epoch", "best_val_loss", "last_val_loss"),
    *("best_mae_val_loss", "first_loss"),
)
_TIMING_KEYS = (
    *("wall_s", "inference_s", "samples_per_s", "peak_memory_mib"),
    *("device", "threads", "commit", "platform"),
)
_TWIN_KEYS = ("share", "distinct_patches", "patches", "direct_correlation", "twin_correlation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventional:
    """rPIE on the test split of a stage's dataset."""

    scores: dict[str, float | None]
    """The same scores as a run's best weights have."""

    undefined: dict[str, str]
    """Scores that it has not -> reason."""

    outcome: str
    """As of a run; a validation loss, which it has not, cannot make it a misfit."""

    r_factor: float | None
    """Amplitude R factor of all test frames: sum |A_pred - A_obs| / sum A_obs."""

    scored: list[dict[str, float | None]]
    """Iteration, seconds since the start, and quality, iteration by iteration."""

    iterations: int
    """Iterations made."""

    refined: bool
    """Whether the probe was refined, not known."""

    device: str
    """Where it ran."""

    threads: int
    """CPU threads."""

    name: str = "conventional"
    """Its name among the baselines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Everything that a summary is made from."""

    runs: pd.DataFrame
    """A row per run, in the order of arms and seeds; what is not defined is missing."""

    history: pd.DataFrame
    """A row per run and finished epoch."""

    settings: dict[str, dict[str, Any]]
    """Arm -> the settings that its runs were trained with."""

    baselines: dict[str, dict[str, float | None]]
    """Scores of the `constant` image, the noise-free `truth`, the `conventional` reconstruction."""

    undefined: dict[str, str]
    """Scores that no run has -> reason."""

    reasons: dict[str, str]
    """Scores, and `constant.name` or `truth.name` of baselines, that a run has not -> reason."""

    dataset: dict[str, Any]
    """`dataset.json`."""

    reconstructions: dict[Run, Path]
    """Files to draw from."""

    conventional: Conventional | None
    """The conventional reconstruction of the same data; None: the study has none."""


def collect(
    files: Files, stage: StagePlan, *, dataset: PathLike, conventional: Sequence[PathLike] = ()
) -> Collected:
    """Read all runs of a stage.

    Parameters
    ----------
    files
        Exactly one file of each kind for every arm and seed.
    stage
        Arms, seeds and dataset that the files must belong to.
    dataset
        `dataset.json`.
    conventional
        `metrics.json` and `progress.json` of the conventional reconstruction; none: not requested.

    Raises
    ------
    InputError
        If a file is missing, unreadable, of another run, of other data, or lacks a key.
    """
    facts = read_result(dataset, "dataset")
    paths = {kind: _by_run(files[kind], name, stage) for kind, name in KINDS.items()}
    rows, scored, histories, settings = [], [], [], {}
    for arm, seed in paths["runs"]:
        mine = {kind: by_run[arm, seed] for kind, by_run in paths.items()}
        record = read_result(mine["runs"], "run")
        metrics = read_result(mine["metrics"], "scores")
        for path, found in ((mine["runs"], record), (mine["metrics"], metrics)):
            _check_same_run(found, path, (stage.dataset, arm, seed))
        _check_data(mine["runs"], record, facts)
        rows.append(_row(record, metrics, read_result(mine["timings"], "timing")))
        scored.append(metrics)
        histories.append(_history(mine["histories"], record))
        settings[arm] = record["settings"]
    reasons, rpie = _reasons(scored), _read_conventional(conventional, facts)
    baselines = {name: _baseline(scored, name) for name in ("constant", "truth")}
    if rpie is not None:
        baselines[rpie.name] = rpie.scores
    filled = [table for table in histories if len(table)]
    return Collected(
        runs=pd.DataFrame(rows),
        history=pd.concat(filled or histories[:1], ignore_index=True),
        settings=settings,
        baselines=baselines,
        undefined={
            name: reasons.get(name, "no reason was recorded")
            for name in BLOCK_NAMES
            if all((metrics["best"] or {}).get(name) is None for metrics in scored)
        },
        reasons=reasons,
        dataset=facts,
        reconstructions=paths["reconstructions"],
        conventional=rpie,
    )


def _by_run(paths: Sequence[PathLike], name: str, stage: StagePlan) -> dict[Run, Path]:
    """Return the file of each expected run; refuse missing, unexpected and duplicate ones."""
    runs = [(arm, seed) for arm in stage.arms for seed in stage.seed_list]
    expected = {f"{stage.dataset}/{arm}/seed-{seed}/{name}": (arm, seed) for arm, seed in runs}
    found: dict[Run, Path] = {}
    for path in map(Path, paths):
        run = expected.get("/".join(path.parts[-4:]))
        if run is None:
            raise InputError(
                f"{path}: is no {name} of this stage (dataset {stage.dataset}; arms "
                f"{', '.join(stage.arms)}; seeds {', '.join(map(str, stage.seed_list))})"
            )
        if run in found:
            raise InputError(f"{path}: {found[run]} is already there for the same run")
        found[run] = path
    for file, run in expected.items():
        if run not in found:
            raise InputError(f"{file}: is missing; make the run first")
    return {run: found[run] for run in runs}


def _check_same_run(data: Mapping[str, Any], path: Path, run: tuple[str, str, int]) -> None:
    found = (data["dataset"], data["arm"], data["seed"])
    if found != run:
        raise InputError(
            f"{path}: is of dataset {found[0]}, arm {found[1]}, seed {found[2]}; its folder says "
            f"{', '.join(map(str, run))}; put it back or make it again"
        )


def _check_data(path: Path, record: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    described = {split: facts["sha256"] for split, facts in dataset["splits"].items()}
    if record["dataset_sha256"] != described:
        raise InputError(
            f"{path}: was made with other data (SHA-256 {record['dataset_sha256']}) than "
            f"dataset.json describes ({described}); delete it and make it again"
        )


def _history(path: Path, record: Mapping[str, Any]) -> pd.DataFrame:
    history = io.read_csv(path)
    for place, key in enumerate(("dataset", "arm", "seed")):
        history.insert(place, key, record[key])
    return history


def _row(
    record: Mapping[str, Any], metrics: Mapping[str, Any], timing: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the row of one run; a failure found at the end counts at the last epoch."""
    outcome = metrics["outcome"]
    failed = outcome != COMPLETED
    failure = record["failure"] or {}
    twin, norms = metrics["twin"] or {}, record["gradient_norm"] or {}
    row = {
        **{key: record[key] for key in ("dataset", "arm", "seed")},
        "outcome": outcome,
        "failed": failed,
        "failure_epoch": (failure.get("epoch") or max(record["epochs"], 1)) if failed else None,
        "failure_found": ("training" if failure else "evaluation") if failed else None,
        "failure_step": (failure.get("step") or record["steps"]) if failed else None,
        "reason": failure.get("reason") or metrics["reason"],
        **{key: record[key] for key in ("epochs", "steps", *_RUN_KEYS)},
        "parameters_stored": record["parameters"]["stored"],
        "parameters_full": record["parameters"]["full"],
        **{f"grad_norm_{key}": norms.get(key) for key in ("median", "p99", "max")},
        **{key: record[key] for key in ("clipped_share", "loss_spikes")},
        **{f"twin_{key}": twin.get(key) for key in _TWIN_KEYS},
        **{key: timing[key] for key in _TIMING_KEYS},
        "torch": record["versions"].get("torch"),
    }
    for block in ("best", "last"):
        scores = metrics[block] or {}
        row |= {f"{block}_{name}": scores.get(name) for name in BLOCK_NAMES}
    row["undefined"] = "; ".join(f"{k}: {v}" for k, v in sorted(metrics["undefined"].items()))
    return row


def _baseline(scored: Sequence[Mapping[str, Any]], block: str) -> dict[str, float | None]:
    """Return the first defined value of each score; baselines do not depend on the run."""
    blocks = [metrics[block] or {} for metrics in scored]
    return {
        name: next((b[name] for b in blocks if b.get(name) is not None), None)
        for name in BLOCK_NAMES
    }


def _reasons(scored: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return why scores are not defined, as the first run that lacks them says."""
    reasons: dict[str, str] = {}
    for metrics in reversed(scored):
        reasons |= {k: v.removeprefix("not defined: ") for k, v in metrics["undefined"].items()}
    return reasons


def _read_conventional(
    files: Sequence[PathLike], dataset: Mapping[str, Any]
) -> Conventional | None:
    if not files:
        return None
    paths = {Path(path).name: Path(path) for path in files}
    metrics = read_result(paths["metrics.json"], "rPIE scores")
    progress = read_result(paths["progress.json"], "rPIE")
    _check_data(paths["progress.json"], progress, dataset)
    return Conventional(
        scores={name: metrics["best"].get(name) for name in BLOCK_NAMES},
        undefined=metrics["undefined"],
        outcome=metrics["outcome"],
        refined=bool(progress["settings"].get("refine_probe")),
        **{key: progress[key] for key in ("r_factor", "scored", "iterations", "device", "threads")},
    )
