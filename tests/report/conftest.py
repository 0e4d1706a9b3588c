"""A study that was never run: the files of its runs and its dataset, with planted answers."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.report.collect import collect
from ptycho_torch.report.summarise.findings import Findings
from ptycho_torch.report.summarise.stage import read_winner, work_out

# What stands beside this file is found by its name.
sys.path.insert(0, str(Path(__file__).parent))
from planted_runs import CHECKSUMS, Plan, Run, config_of, write_conventional


def write_study(folder: Path, plan: Plan) -> dict[str, Any]:
    """Write every file of a study; return the keywords of `summarise_stage` but the folder."""
    study = config_of(plan)
    kinds = ("metrics", "runs", "timings", "histories", "reconstructions")
    files: dict[str, list[Path]] = {kind: [] for kind in kinds}
    stage = stage_plan(plan.study, plan.stage, plan.winner)
    for arm in stage.arms:
        for seed in plan.seeds:
            run = Run(plan, arm, seed)
            trained = folder / "train" / "triangle_n32" / arm / f"seed-{seed}"
            judged = folder / "evaluate" / "triangle_n32" / arm / f"seed-{seed}"
            trained.mkdir(parents=True)
            judged.mkdir(parents=True)
            io.write_json(trained / "run.json", run.record())
            io.write_json(trained / "timing.json", run.timing())
            (trained / "history.csv").write_text(run.history())
            io.write_json(judged / "metrics.json", run.metrics())
            np.savez(judged / "reconstruction.npz", **run.arrays())
            files["runs"].append(trained / "run.json")
            files["timings"].append(trained / "timing.json")
            files["histories"].append(trained / "history.csv")
            files["metrics"].append(judged / "metrics.json")
            files["reconstructions"].append(judged / "reconstruction.npz")
    splits = {
        split: {
            "file": f"{split}.npz",
            "sha256": sha,
            "groups": 1000,
            "channels": 1,
            "noise_floor": 0.0048,
        }
        for split, sha in CHECKSUMS.items()
    }
    dataset = folder / "dataset.json"
    io.write_json(
        dataset, {"dataset": "triangle_n32", "settings": {}, "splits": splits, "patch_px": 32}
    )
    provenance = {
        "command": "snakemake stage_a_summary --cores 4",
        "commit": "0123abc",
        "python": "3.11",
        "platform": "Linux",
        "versions": {"numpy": "2"},
    }
    given = {
        "files": files,
        "dataset": dataset,
        "study": study,
        "stage": plan.stage,
        "provenance": provenance,
    }
    if plan.conventional is not None:
        given["conventional"] = write_conventional(folder / "rpie", plan)
    if plan.stage == "stage_b":
        io.write_json(folder / "winner.json", {"winner": plan.winner})
        given["winner"] = folder / "winner.json"
    return given


def work_out_of(given: dict[str, Any]) -> Findings:
    """Return what a planted stage shows, without writing anything."""
    study, winner = parse_study(given["study"], "planted"), read_winner(given.get("winner"))
    stage = stage_plan(study, given["stage"], winner)
    rpie = given.get("conventional", ())
    collected = collect(given["files"], stage, dataset=given["dataset"], conventional=rpie)
    return work_out(collected, study, stage.name, given["provenance"], winner=winner)


@pytest.fixture(scope="session")
def findings_of(plant: Callable[..., dict[str, Any]]) -> Callable[..., Findings]:
    """Return a function that plants a stage and works out what it shows."""
    return lambda **plan: work_out_of(plant(**plan))


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return a function that writes a planned study and returns keywords of `summarise_stage`."""

    def write(**plan: Any) -> dict[str, Any]:
        return write_study(tmp_path_factory.mktemp("study"), Plan(**plan))

    return write
