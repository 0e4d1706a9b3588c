"""Settings of the study, its arms and stages: what is planned, trained or said otherwise."""

import copy
import dataclasses
import json
from pathlib import Path

from ptycho_torch.config.arms import fit_settings, run_settings
from ptycho_torch.config.plan import stage_names, stage_plan, untrained_networks
from ptycho_torch.config.read import load_yaml, parse_study

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "config.yaml"


def planned(settings):
    """Return everything that the workflow reads of a study's plan, as text."""
    study = parse_study(settings, "t")
    plans = [stage_plan(study, name, study.stage_a.arms[1]) for name in stage_names(study)]
    runs = [
        run_settings(study, plan.dataset, arm, seed).model_dump(mode="json", exclude={"arm"})
        for plan in plans
        for arm in plan.arms
        for seed in plan.seed_list
    ]
    real = [
        fit_settings(study, name, label, seed).model_dump(mode="json")
        for name in study.real_data.measurements
        for label in study.real_data.networks
        for seed in study.real_data.seed_list
    ]
    networks = {k: v.model_dump(mode="json") for k, v in untrained_networks(study).items()}
    return json.dumps([[dataclasses.asdict(plan) for plan in plans], runs, real, networks])


def plans(key, value, **base):
    """Return a flip that must plan other runs, comparisons or titles."""

    def flip(tools):
        settings = load_yaml(SHIPPED)
        settings["datasets"]["other"] = copy.deepcopy(settings["datasets"]["triangle_n32"])
        for path, changed in base.items():
            _put(settings, path.replace("__", "."), changed)
        other = copy.deepcopy(settings)
        _put(other, key, value)
        assert planned(settings) != planned(other)

    return flip


def _put(settings, key, value):
    *blocks, last = key.split(".")
    for name in blocks:
        settings = settings.setdefault(name, {})
    settings[last] = value


SWEEP = "sweeps.clip_sweep"
REAL = "real_data.measurements.siemens_star"
FLIPS = {
    "ArmSettings.generator": plans("arms.control.generator", {"width": 4}),
    "ArmSettings.training": plans("arms.control.training", {"epochs": 3}),
    "ArmSettings.execution": plans("arms.control.execution", {"threads": 2}),
    "StageSettings.dataset": plans("stage_a.dataset", "other"),
    "StageSettings.control": plans("stage_a.control", "norm1", stress__arms=["control", "norm1"]),
    "StageSettings.arms": plans("stage_a.arms", ["control", "stable", "agc"]),
    "Looks.looks": plans("stage_a.seeds", {"looks": [2, 4]}, stage_a__seeds={"looks": [2, 3]}),
    "StressSettings.arms": plans("stress.arms", ["control", "norm1"]),
    "StressSettings.learning_rates": plans("stress.learning_rates", [1e-3, 2e-3, 4e-3]),
    "StressSettings.depths": plans("stress.depths", [4]),
    "StressSettings.epochs": plans("stress.epochs", 2),
    "SweepSettings.arm": plans(f"{SWEEP}.arm", "agc", sweeps__clip_sweep__sweep={"epochs": [2]}),
    "SweepSettings.sweep": plans(f"{SWEEP}.sweep", {"clip.max_norm": [2]}),
    "SweepSettings.question": plans(f"{SWEEP}.question", "Another?"),
    "SweepSettings.dataset": plans(f"{SWEEP}.dataset", "other"),
    "SweepSettings.seeds": plans(f"{SWEEP}.seeds", [7]),
    "DepthSettings.fno_blocks": plans("stage_b.fno_blocks", 6),
    "DepthSettings.seeds": plans("stage_b.seeds", [7]),
    "PivotSettings.arm": plans("pivot.arm", "norm1"),
    "PivotSettings.cures": plans("pivot.cures", ["agc", "stable"]),
    "RealDataSettings.arms": plans("real_data.arms", ["agc"]),
    "RealDataSettings.gridsizes": plans("real_data.gridsizes", [1, 2]),
    "RealDataSettings.seeds": plans("real_data.seeds", [5]),
    "RealDataSettings.training": plans("real_data.training", {"epochs": 3}),
    "RealDataSettings.generator": plans("real_data.generator", {"width": 4}),
    "RealDataSettings.validation_fraction": plans("real_data.validation_fraction", 0.2),
    "RegionSettings.gap_px": plans("real_data.held_out.gap_px", 3.0),
    "UntrainedNetwork.loss": plans("training.loss", "poisson"),
    "UntrainedNetwork.input_scaling": plans("training.input_scaling", "statistical"),
    "UntrainedNetwork.object_big": plans("training.object_big", False),
}
