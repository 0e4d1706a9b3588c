"""Every setting does something: it is read; of those that judge, and of optimisers, another value
makes another result of the same runs.

The settings are taken from the classes: a new one that nothing reads, or that judges and is not
flipped, fails. What each setting of plans, data and diagnoses does is a law of their rooms.
"""

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic.json_schema import models_json_schema
from tests.commands import ROOT
from tests.evaluate.conftest import scan
from tests.report import planted

from ptycho_torch.config.evaluation import EvaluationSettings, StatisticsSettings, SuccessSettings
from ptycho_torch.config.plan import UntrainedNetwork, stage_plan
from ptycho_torch.config.read import load_yaml
from ptycho_torch.config.scan import FitSettings, InferSettings
from ptycho_torch.config.stages import DepthSettings
from ptycho_torch.config.study import Study
from ptycho_torch.config.training import SGD, Adam, AdamW, RunSettings
from ptycho_torch.evaluate.block import reconstruct, score
from ptycho_torch.evaluate.run import decide_outcome
from ptycho_torch.report.decide import decide
from ptycho_torch.statistics.compare import seeds_needed
from ptycho_torch.statistics.estimates import paired_difference
from ptycho_torch.statistics.runs import StageRuns
from ptycho_torch.statistics.verdict import judge_arm, judge_depth
from ptycho_torch.train.module import make_optimizer

TWIN = {
    "share": 0.55, "distinct_patches": 90, "patches": 100, "direct_correlation": 0.7,
    "twin_correlation": 0.95, "best_correlation": 0.95,
}  # fmt: skip


def outcome(twin):
    """Of a run with good scores and this twin test."""
    run = {"outcome": "completed", "failure": None, "best_mae_val_loss": 0.2}
    scores = {"amplitude_std_ratio": 0.5, "amplitude_pearson_r": 0.8, "complex_error": 0.1}
    rest = {"broken_patches": 0, "constant_loss": 0.3, "constant_error": 0.4}
    return lambda settings: decide_outcome(run, scores, twin, settings, **rest)[0]


GOOD = TWIN | {"share": 0.1}


def phase_error(settings):
    """Of patches that are the truth, tilted by a plane of the phase."""
    truth = scan()
    tilt = np.exp(0.05j * truth.positions_B2[:, 0])[:, None, None]
    found = score(reconstruct((truth.patches_BHW * tilt).astype(np.complex64), truth, settings))
    return found["phase_mae"]


def estimates(settings):
    """An interval, and how many seeds are named as enough."""
    differences = [0.3, -0.1, 0.4, 0.2, -0.2, 0.5]
    others = [0.1, 0.0, 0.2, -0.3, 0.1, 0.3]
    part = settings.effect_of_interest
    seeds = seeds_needed(differences, others, of_interest=part, level=0.05, settings=settings)
    many = np.random.default_rng(0).normal(0.3, 1, 20)  # Beyond 15 pairs patterns are random.
    intervals = [paired_difference(values, settings).interval for values in (differences, many)]
    return repr((intervals, seeds))


@cache
def planted_stage(stage, truth, seeds):
    study = planted.planted_study(load_yaml(ROOT / "config" / "config.yaml"), seeds)
    runs = planted.planted_runs(study, getattr(planted, truth), stage, np.random.default_rng(3))
    return study, StageRuns(runs=runs, stage=stage_plan(study, stage))


def hypothesis(arm, truth):
    def judged(settings):
        found = judge_arm(arm, settings, planted_stage("stage_a", truth, 16)[1])
        return [(verdict.condition, verdict.status) for verdict in found]

    return judged


def at_depth(settings):
    evidence = planted_stage("pivot", "NULL", 16)[1]
    deep, shallow = evidence.stage.depth[1]
    history = pd.DataFrame({"arm": deep, "seed": [0, 1], "epoch": 1, "grad_norm_p99": 30.0})
    found = judge_depth(deep, shallow, evidence, history, settings)
    return [verdict.status for verdict in found]


def decided(settings):
    study, shallow = planted_stage("stage_a", "SILVER", 10)
    study = study.model_copy(update={"decision": settings})
    return decide(study, shallow.runs, planted_stage("pivot", "SILVER", 10)[1].runs)["rules"]


def stepped(settings):
    """A weight after two steps."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = make_optimizer(settings, [weight])
    for grad in (1.0, -0.5):
        weight.grad = torch.full((2,), grad)
        optimizer.step()
    return weight.tolist()


ADAM = Adam(name="adam", learning_rate=0.01)
EVALUATION = EvaluationSettings()
STATISTICS = StatisticsSettings(resamples=200)
SUCCESS, WITHIN = SuccessSettings(), SuccessSettings(max_loss_increase=0.0)
DEPTH = DepthSettings(fno_blocks=8)
DECISION = planted_stage("stage_a", "SILVER", 10)[0].decision

# Settings, keys of theirs with another value, and what must come out otherwise by each.
TABLE = [
    (ADAM, {"learning_rate": 0.02}, stepped),
    (AdamW(name="adamw", learning_rate=0.01, weight_decay=0.1), {"weight_decay": 0.5}, stepped),
    (SGD(name="sgd", learning_rate=0.1), {"momentum": 0.0}, stepped),
    (EVALUATION, {"trim_px": 4, "remove_phase_plane": True}, phase_error),
    (EVALUATION, {"twin_share": 0.6}, outcome(TWIN)),
    (EVALUATION, {"collapse_fraction": 0.6, "misfit_correlation": 0.99}, outcome(GOOD)),
    (EVALUATION, {"misfit_pearson_r": 0.9, "constant_fraction": 0.5}, outcome(GOOD)),
    (STATISTICS, {"confidence": 0.8, "resamples": 5000, "power": 0.95}, estimates),
    (STATISTICS, {"most_seeds": 4, "effect_of_interest": 0.45}, estimates),
    (SUCCESS, {"lowest_loss": True, "no_failures": True}, hypothesis("stable", "GOLD")),
    (SUCCESS, {"lowest_failure_rate": True}, hypothesis("stable", "GOLD")),
    (SUCCESS, {"fewer_failures_than_control": True}, hypothesis("stable", "GOLD")),
    (WITHIN, {"max_loss_increase": 0.5}, hypothesis("norm1", "NULL")),
    (DEPTH, {"max_loss_increase": 0.0, "max_ssim_decrease": 0.0, "gradient_factor": 2.0}, at_depth),
    (DECISION, {"gold": "agc", "silver": "stable", "max_loss_increase": 0.9}, decided),
    (DECISION, {"acceptable_failure_rate": 0.9}, decided),
]

FLIPS = {
    f"{type(settings).__name__}.{key}": (settings, key, value, result)
    for settings, others, result in TABLE
    for key, value in others.items()
}


@cache
def leaves():
    """Every setting that is a value and no block, as `Class.name`, with its schema."""
    roots = (Study, FitSettings, InferSettings, RunSettings, UntrainedNetwork)
    _, schema = models_json_schema([(root, "validation") for root in roots])
    return {
        f"{kind}.{name}": facts
        for kind, block in schema["$defs"].items()
        for name, facts in block.get("properties", {}).items()
        if "$ref" not in str(facts)
    }


def test_every_setting_is_read():
    """As an attribute or by its name, in the package or the workflow; a kind is matched by class."""
    code = ""
    places = ("src/ptycho_torch/**/*.py", "src/ptycho_torch/**/*.j2", "workflow/**/*.smk")
    for path in (path for place in places for path in ROOT.glob(place)):
        text = path.read_text(encoding="utf-8")
        fields = path.parent.name == "config"
        code += re.sub(r"^    \w+: .*$", "", text, flags=re.M) if fields else text
    assert len(leaves()) > 130
    for name, facts in leaves().items():
        key = name.partition(".")[2]
        read = re.search(rf"\.{key}\b|[\"']{key}[\"']", code)
        assert "const" in facts or read, f"{name}: nothing reads it"


def test_what_is_flipped_is_a_setting_and_all_that_judge_are_flipped():
    every = set(leaves())
    assert not set(FLIPS) - every
    judging = ("Evaluation", "Statistics", "Success", "Depth", "Decision")
    planning = {"DepthSettings.fno_blocks", "DepthSettings.seeds"}
    judge = {name for name in every if name.partition("Settings.")[0] in judging}
    assert planning < judge <= set(FLIPS) | planning


@pytest.mark.parametrize("name", FLIPS)
def test_a_flip_is_seen(name):
    settings, key, value, result = FLIPS[name]
    assert result(settings) != result(settings.model_copy(update={key: value}))
