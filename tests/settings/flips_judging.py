"""Settings of evaluation, statistics, conditions, decision and parity."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ptycho_torch.config.evaluation import EvaluationSettings, StatisticsSettings
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import load_yaml
from ptycho_torch.config.study import DepthSettings, SuccessSettings
from ptycho_torch.evaluate.block import reconstruct, score
from ptycho_torch.evaluate.outcome import Evidence as Seen
from ptycho_torch.evaluate.outcome import decide_outcome
from ptycho_torch.evaluate.truth import read_truth
from ptycho_torch.evaluate.twin import TwinReading
from ptycho_torch.report.decide.decision import decide
from ptycho_torch.report.decide.rules import Runs
from ptycho_torch.statistics.depth import judge_depth
from ptycho_torch.statistics.estimates import paired_difference
from ptycho_torch.statistics.power import seeds_for_difference, seeds_for_rates
from ptycho_torch.statistics.scores import loss_score
from ptycho_torch.statistics.verdict import Evidence, judge_arm

ROOT = Path(__file__).resolve().parents[2]


def _planted():
    path = ROOT / "tests" / "report" / "planted.py"
    spec = importlib.util.spec_from_file_location("planted_arms", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted_arms"] = module
    spec.loader.exec_module(module)
    return module


planted = _planted()
TWIN = TwinReading(
    share=0.55, distinct_patches=90, patches=100, direct_correlation=0.7, twin_correlation=0.95,
    truth_twin_correlation=0.6, best_correlation=0.95, overlap_direct=0.9, overlap_twin=0.5,
)  # fmt: skip
SEEN = Seen(
    outcome="completed", failure=None, best_mae_val_loss=0.2, broken_patches=0,
    amplitude_std_ratio=0.5, amplitude_pearson_r=0.8,
    twin=dataclasses.replace(TWIN, share=0.1),
)  # fmt: skip
LOST = dataclasses.replace(SEEN, amplitude_pearson_r=0.1)


def outcome(key, value, evidence=SEEN):
    """Return a flip of a threshold that must call the same reconstruction otherwise."""

    def flip(tools):
        one, other = EvaluationSettings(), EvaluationSettings(**{key: value})
        assert decide_outcome(evidence, one)[0] != decide_outcome(evidence, other)[0]

    return flip


def scores(key, value):
    """Return a flip that must change the scores of tilted patches."""

    def flip(tools):
        scene = read_truth(tools.dataset.splits["test"], tools.dataset.dataset)
        truth = scene.patches_BHW
        tilt = np.exp(0.05j * scene.positions_B2[:, 0])[:, None, None].astype(np.complex64)
        made = [
            score(reconstruct(truth * tilt, scene, settings))["phase_mae"]
            for settings in (EvaluationSettings(), EvaluationSettings(**{key: value}))
        ]
        assert made[0] != made[1]

    return flip


QUICK = {"bootstrap_resamples": 200, "power_simulations": 200}
DIFFERENCES = [0.3, -0.1, 0.4, 0.2, -0.2, 0.5]


def statistics(key, value, **base):
    """Return a flip that must change an interval or the number of seeds needed."""

    def found(settings):
        interval = paired_difference(DIFFERENCES, settings).interval
        pairs = seeds_for_difference(DIFFERENCES, family=1, settings=settings)
        rates = [
            seeds_for_rates(failed, (5, 10), family=1, settings=settings)
            for failed in ((1, 10), (5, 10))
        ]
        return repr((interval, pairs, rates))

    def flip(tools):
        settings = {**QUICK, **base}
        one, other = (StatisticsSettings(**{**settings, **more}) for more in ({}, {key: value}))
        assert found(one) != found(other)

    return flip


def runs_of(tools, stage="stage_a", truth=planted.GOLD, seeds=16):
    """Return the study of ten arms, and a planted table of one of its stages."""
    key = (stage, repr(truth), seeds)
    if key not in tools.planted:
        data = load_yaml(ROOT / "config" / "config.yaml")
        study = planted.ten_arm_study(data, seeds, most_seeds=2)
        rng = np.random.default_rng(3)
        tools.planted[key] = (study, planted.planted_runs(study, truth, stage, rng))
    return tools.planted[key]


def evidence_of(study, runs, stage):
    loss = loss_score(runs["val_loss_name"].tolist())
    plan = stage_plan(study, stage)
    return Evidence(runs=runs, stage=plan, loss=loss, settings=study.statistics)


def condition(key, value=True):
    """Return a flip that must add a verdict of that name."""

    def flip(tools):
        study, runs = runs_of(tools)
        evidence = evidence_of(study, runs, "stage_a")
        named = [
            {verdict.condition for verdict in judge_arm("stable", success, evidence)}
            for success in (SuccessSettings(), SuccessSettings(**{key: value}))
        ]
        assert key not in named[0] and key in named[1]

    return flip


def bound_on_loss(tools):
    study, runs = runs_of(tools, truth=planted.NULL)
    evidence = evidence_of(study, runs, "stage_a")
    status = [
        judge_arm("agc", SuccessSettings(max_loss_increase=bound), evidence)[0].status
        for bound in (0.0, 0.5)
    ]
    assert status[0] != status[1]


def depth(key, value):
    """Return a flip of a bound that must judge the same deep runs otherwise."""

    def flip(tools):
        study, runs = runs_of(tools, "pivot", planted.NULL)
        evidence = evidence_of(study, runs, "pivot")
        deep, shallow = evidence.stage.depth[0]
        history = pd.DataFrame(
            {"arm": deep, "seed": [0, 1], "epoch": [1, 1], "grad_norm_p99": [30.0, 30.0]}
        )
        judged = [
            [v.status for v in judge_depth(deep, shallow, evidence, history, settings)]
            for settings in (
                DepthSettings(fno_blocks=8),
                DepthSettings(fno_blocks=8, **{key: value}),
            )
        ]
        assert judged[0] != judged[1]

    return flip


def decision(key, value):
    """Return a flip that must change a rule of the decision."""

    def flip(tools):
        study, shallow = runs_of(tools, truth=planted.SILVER, seeds=10)
        deep = runs_of(tools, "pivot", truth=planted.SILVER, seeds=10)[1]
        other = study.model_copy(
            update={"decision": study.decision.model_copy(update={key: value})}
        )
        if "decision" not in tools.planted:
            tools.planted["decision"] = decide(
                Runs(study=study, shallow=shallow, at_depth=deep)
            ).rules
        assert (
            tools.planted["decision"]
            != decide(Runs(study=other, shallow=shallow, at_depth=deep)).rules
        )

    return flip


FLIPS = {
    "EvaluationSettings.trim_px": scores("trim_px", 4),
    "EvaluationSettings.remove_phase_plane": scores("remove_phase_plane", True),
    "EvaluationSettings.collapse_fraction": outcome("collapse_fraction", 0.6),
    "EvaluationSettings.twin_share": outcome(
        "twin_share", 0.6, dataclasses.replace(SEEN, twin=TWIN)
    ),
    "EvaluationSettings.misfit_correlation": outcome("misfit_correlation", 0.99),
    "EvaluationSettings.misfit_pearson_r": outcome("misfit_pearson_r", 0.9),
    "EvaluationSettings.misfit_loss": outcome("misfit_loss", 0.1, LOST),
    "StatisticsSettings.confidence": statistics("confidence", 0.8),
    "StatisticsSettings.bootstrap_resamples": statistics("bootstrap_resamples", 5000),
    "StatisticsSettings.bootstrap_seed": statistics("bootstrap_seed", 1),
    "StatisticsSettings.power": statistics("power", 0.95),
    "StatisticsSettings.most_seeds": statistics("most_seeds", 4),
    "StatisticsSettings.power_simulations": statistics("power_simulations", 1000),
    "StatisticsSettings.worthwhile_failure_difference": statistics(
        "worthwhile_failure_difference", 0.45
    ),
    "SuccessSettings.lowest_loss": condition("lowest_loss"),
    "SuccessSettings.no_failures": condition("no_failures"),
    "SuccessSettings.lowest_failure_rate": condition("lowest_failure_rate"),
    "SuccessSettings.fewer_failures_than_control": condition("fewer_failures_than_control"),
    "SuccessSettings.max_loss_increase": bound_on_loss,
    "DepthSettings.max_loss_increase": depth("max_loss_increase", 0.0),
    "DepthSettings.max_ssim_decrease": depth("max_ssim_decrease", 0.0),
    "DepthSettings.gradient_factor": depth("gradient_factor", 2.0),
    "DecisionSettings.gold": decision("gold", "agc"),
    "DecisionSettings.silver": decision("silver", "stable"),
    "DecisionSettings.max_loss_increase": decision("max_loss_increase", 0.9),
    "DecisionSettings.acceptable_failure_rate": decision("acceptable_failure_rate", 0.9),
}
HELD = {
    "SweepSettings.alike_within": "summarise/test_stages.py::test_the_margin_of_alike_is_the_sweeps_own",
    "ParitySettings.arm": "workflow/test_dry_runs.py::test_parity_takes_the_run_that_the_study_names_and_retrains_none",
    "ParitySettings.seed": "workflow/test_dry_runs.py::test_parity_takes_the_run_that_the_study_names_and_retrains_none",
    "ParitySettings.tolerance": "dumps/test_compare.py::test_a_ratio_at_the_very_bound_passes",
    "ParitySettings.rounding": "dumps/test_parity.py::test_what_agrees_to_ten_percent_but_not_to_rounding_is_told",
    "ParitySettings.reassembly": "dumps/test_parity.py::test_the_bound_of_the_stitchings_is_a_setting",
}  # fmt: skip
