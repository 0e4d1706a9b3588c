"""Read what the runs of a stage left: a row per run, and what tables, figures and texts need."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.stages import Variant
from ptycho_torch.config.study import Study, derive, run_settings
from ptycho_torch.files import io
from ptycho_torch.files.belonging import must_belong
from ptycho_torch.files.io import PathLike, read_json
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.runs import COMPOSITE, StageRuns, composite_losses

Files = Mapping[str, Sequence[PathLike]]
"""Kind of `KINDS` -> that file of every run, in any order; a run is known by the file's folder,
`<dataset>/<arm>/seed-<n>`."""

KINDS = {
    "runs": "run.json",
    "timings": "timing.json",
    "histories": "history.csv",
    "metrics": "metrics.json",
    "reconstructions": "reconstruction.npz",
}

_RUN = ("dataset", "arm", "seed")
_RUN_KEYS = (
    *("epochs", "steps", "val_loss_name", "best_epoch", "best_val_loss", "last_val_loss"),
    *("best_mae_val_loss", "first_loss", "flops_per_step", "clipped_share", "loss_spikes"),
)
_TIMING_KEYS = (
    *("wall_s", "inference_s", "samples_per_s", "peak_memory_mib"),
    *("device", "threads", "commit", "platform"),
)


@dataclass(frozen=True, kw_only=True)
class Collected(StageRuns):
    """A stage and everything that its runs left."""

    study: Study
    history: pd.DataFrame
    """A row per run and finished epoch."""
    baselines: dict[str, dict[str, float | None]]
    """Scores of the `constant` image, the noise-free `truth`, the `conventional` reconstruction."""
    undefined: dict[str, str]
    """Scores that no run has -> reason."""
    noise_floor: float | None
    """Loss of the noise alone on the validation split; None: unknown."""
    constant_loss: float
    """Loss of the best constant object on the validation split."""
    dataset: dict[str, Any]
    reconstructions: dict[tuple[str, int], Path]
    """(arm, seed) -> file to draw from."""
    conventional: dict[str, Any] | None
    """rPIE on the same test split, with such a file as `image`; None: the study has none."""

    @property
    def variants(self) -> dict[str, Variant]:
        """Arm -> what a sweep varies of it, in the order of values; empty: no sweep."""
        return {arm: variant for variant, arm in derive(self.study).sweeps.get(self.stage.name, [])}

    @property
    def still_improving(self) -> tuple[int, int]:
        """Successful runs whose last epoch is their best, and all successful ones."""
        good = self.runs[~self.runs["failed"].astype(bool)]
        return int((good["best_epoch"] == good["epochs"]).sum()), len(good)

    def median(self, arm: str, column: str) -> float | None:
        """Return the median of a column over all runs of an arm, failed ones included."""
        return estimates.spread(self.runs_of(arm)[column].astype(float)).median

    def survival(self, arm: str) -> pd.DataFrame:
        """Return an arm's Kaplan-Meier curve of the time to failure, in epochs."""
        mine = self.runs_of(arm)
        failed = mine["failed"].astype(bool)
        return estimates.kaplan_meier(
            mine.loc[failed, "failure_epoch"].astype(int).tolist(),
            mine.loc[~failed, "epochs"].astype(int).tolist(),
            self.confidence,
        )


def collect(
    files: Files,
    study: Study,
    stage: StagePlan,
    *,
    dataset: PathLike,
    conventional: Sequence[PathLike] = (),
) -> Collected:
    """Read all runs of a stage: one file of each kind for every arm and seed; `conventional` holds
    `metrics.json`, `progress.json` and `reconstruction.npz` of rPIE, or nothing. Raises InputError,
    which names the file, if one is missing, unreadable, of another run or data, or lacks a key.
    """
    facts, simulated = read_json(dataset), study.datasets[stage.dataset].published()
    must_belong([(dataset, facts["settings"], simulated)], "simulate")
    paths = {kind: _by_run(files[kind], name, stage) for kind, name in KINDS.items()}
    judged = study.evaluation.model_dump(mode="json")
    trained, evaluated = [], []
    rows, scored, histories = [], [], []
    for arm, seed in paths["runs"]:
        run: dict[str, Any] = dict(zip(_RUN, (stage.dataset, arm, seed), strict=True))
        mine = {kind: by_run[arm, seed] for kind, by_run in paths.items()}
        record, metrics = read_json(mine["runs"]), read_json(mine["metrics"])
        _check_data(mine["runs"], record, facts)
        expected = run_settings(study, stage.dataset, arm, seed).model_dump(mode="json")
        trained.append((mine["runs"], record["settings"], expected))
        made_with = metrics["settings"] | {key: metrics[key] for key in _RUN}
        evaluated.append((mine["metrics"], made_with, judged | run))
        rows.append(_row(record, metrics, read_json(mine["timings"])))
        scored.append(metrics)
        history = io.read_csv(mine["histories"])
        histories.append(history.assign(**run)[[*_RUN, *history]])
    must_belong(trained, "train")
    must_belong(evaluated, "evaluate")
    # What no run has to do with is the same in all of them.
    baselines = {name: scored[0][name] for name in ("constant", "truth")}
    rpie = _read_conventional(conventional, facts, study)
    if rpie is not None:
        baselines["conventional"] = rpie.pop("best")
    runs, validation = pd.DataFrame(rows), facts["splits"]["validation"]
    runs[COMPOSITE.column] = composite_losses(runs, validation["constant_loss"])
    return Collected(
        study=study,
        stage=stage,
        runs=runs,
        confidence=study.statistics.confidence,
        history=pd.concat([t for t in histories if len(t)] or histories[:1], ignore_index=True),
        baselines=baselines,
        undefined=_undefined(scored),
        noise_floor=validation.get("noise_floor"),
        constant_loss=float(validation["constant_loss"]),
        dataset=facts,
        reconstructions=paths["reconstructions"],
        conventional=rpie,
    )


def _by_run(paths: Sequence[PathLike], name: str, stage: StagePlan) -> dict[tuple[str, int], Path]:
    """Return the file of each expected run; refuse missing and unexpected ones."""
    found = {"/".join(path.parts[-4:]): path for path in map(Path, paths)}
    runs = stage.runs_of(Counter(path.parts[-3] for path in found.values()))
    expected = {f"{stage.dataset}/{arm}/seed-{seed}/{name}": (arm, seed) for arm, seed in runs}
    for file in sorted(found.keys() ^ expected.keys()):
        missing = "is missing; make the run first"
        raise InputError(f"{file}: {missing if file in expected else f'no run of {stage.name}'}")
    return {run: found[file] for file, run in expected.items()}


def _check_data(path: Path, record: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    described = {split: facts["sha256"] for split, facts in dataset["splits"].items()}
    if record["dataset_sha256"] != described:
        raise InputError(
            f"{path}: was made with other data (SHA-256 {record['dataset_sha256']}) than "
            f"dataset.json describes ({described}); delete it and make it again"
        )


def _row(
    record: Mapping[str, Any], metrics: Mapping[str, Any], timing: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the row of one run; a failure found at the end counts at the last epoch."""
    failed, failure = metrics["outcome"] != "completed", record["failure"]
    last = {"epoch": max(record["epochs"], 1), "step": record["steps"], "reason": metrics["reason"]}
    found = failure or last
    return {
        **{key: record[key] for key in (*_RUN, *_RUN_KEYS)},
        "outcome": metrics["outcome"],
        "failed": failed,
        "failure_epoch": found["epoch"] if failed else None,
        "failure_found": ("training" if failure else "evaluation") if failed else None,
        "failure_step": found["step"] if failed else None,
        "reason": found["reason"],
        "parameters_stored": record["parameters"]["stored"],
        "parameters_full": record["parameters"]["full"],
        **{f"grad_norm_{key}": value for key, value in record["gradient_norm"].items()},
        "twin_share": metrics["twin"]["share"],
        **{key: timing[key] for key in _TIMING_KEYS},
        "torch": record["versions"].get("torch"),
        **{f"{b}_{name}": value for b in ("best", "last") for name, value in metrics[b].items()},
        "undefined": "; ".join(f"{k}: {v}" for k, v in sorted(metrics["undefined"].items())),
    }


def _undefined(scored: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the scores that no run has, with the reason of the first."""
    reasons = scored[0]["undefined"]
    return {
        name: reasons.get(name, "no reason was recorded").removeprefix("not defined: ")
        for name in scored[0]["best"]
        if all(metrics["best"][name] is None for metrics in scored)
    }


def _read_conventional(
    files: Sequence[PathLike], dataset: Mapping[str, Any], study: Study
) -> dict[str, Any] | None:
    """Return rPIE's outcome, its scores by iteration, and the file of its images."""
    if not files or study.conventional is None:
        return None
    paths = {Path(path).name: Path(path) for path in files}
    metrics = read_json(paths["metrics.json"])
    progress = read_json(paths["progress.json"])
    _check_data(paths["progress.json"], progress, dataset)
    expected = study.conventional.model_dump(mode="json")
    must_belong([(paths["progress.json"], progress["settings"], expected)], "reconstruct")
    return {
        **{key: metrics[key] for key in ("best", "outcome")},
        "scored": progress["scored"],
        "refined": progress["settings"]["refine_probe"],
        "image": paths["reconstruction.npz"],
    }
