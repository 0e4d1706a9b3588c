"""Settings that judge: outcomes, certainty, depth, decision and diagnoses of the same numbers."""

import dataclasses
import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ptycho_torch.config.evaluation import (
    DiagnosticsSettings,
    EvaluationSettings,
    StatisticsSettings,
)
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import load_yaml
from ptycho_torch.config.study import DepthSettings
from ptycho_torch.diagnose.activations import monitor_activations
from ptycho_torch.evaluate.outcome import Evidence as Seen
from ptycho_torch.evaluate.outcome import decide_outcome
from ptycho_torch.evaluate.twin import TwinReading
from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.report.decide.decision import decide
from ptycho_torch.statistics.depth import judge_depth
from ptycho_torch.statistics.estimates import paired_difference
from ptycho_torch.statistics.power import seeds_for_difference, seeds_for_rates
from ptycho_torch.statistics.scores import loss_score
from ptycho_torch.statistics.verdict import Evidence

ROOT = Path(__file__).resolve().parents[2]


def _planted():
    path = ROOT / "tests" / "report" / "planted.py"
    spec = importlib.util.spec_from_file_location("planted_for_flips", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLANTED = _planted()
TWIN = TwinReading(
    share=0.55, distinct_patches=90, patches=100, direct_correlation=0.7, twin_correlation=0.95,
    truth_twin_correlation=0.6, best_correlation=0.95, overlap_direct=0.9, overlap_twin=0.5,
)  # fmt: skip
SEEN = Seen(
    outcome="completed", failure=None, best_mae_val_loss=0.2, broken_patches=0,
    amplitude_std_ratio=0.5, amplitude_pearson_r=0.8, twin=dataclasses.replace(TWIN, share=0.1),
)  # fmt: skip


@cache
def runs_of(stage, truth):
    """Return a study of ten arms at ten seeds, and a planted table of one of its stages."""
    study = PLANTED.ten_arm_study(load_yaml(ROOT / "config/config.yaml"), 10, most_seeds=2)
    truth = getattr(PLANTED, truth)
    return study, PLANTED.planted_runs(study, truth, stage, np.random.default_rng(3))


def outcome(settings, evidence=SEEN):
    return decide_outcome(evidence, settings)[0]


def certainty(settings):
    differences = [0.3, -0.1, 0.4, 0.2, -0.2, 0.5]
    family = {"family": 1, "settings": settings}
    rates = [seeds_for_rates(failed, (5, 10), **family) for failed in ((1, 10), (5, 10))]
    interval = paired_difference(differences, settings).interval
    return interval, seeds_for_difference(differences, **family), rates


def depth(settings):
    study, runs = runs_of("pivot", "NULL")
    plan = stage_plan(study, "pivot")
    loss = loss_score(runs["val_loss_name"].tolist())
    evidence = Evidence(runs=runs, stage=plan, loss=loss, settings=study.statistics)
    arm, shallow = plan.depth[0]
    norms = {"arm": arm, "seed": [0, 1], "epoch": [1, 1], "grad_norm_p99": [30.0, 30.0]}
    return [v.status for v in judge_depth(arm, shallow, evidence, pd.DataFrame(norms), settings)]


def decision(settings):
    study, shallow = runs_of("stage_a", "SILVER")
    study = study.model_copy(update={"decision": settings})
    return decide(study, shallow, runs_of("pivot", "SILVER")[1])["rules"]


def flags(settings):
    stream = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    block = FourierBlock(4, 2, size_px=(8, 8), two_sided=False, generator=stream)
    return repr(monitor_activations(block, torch.randn(2, 4, 8, 8, generator=stream), settings))


def flip(what, base, **changed):
    """Return a flip of one setting of `base` that must judge otherwise."""

    def seen(tools):
        assert what(base) != what(base.model_copy(update=changed))

    return seen


def flips(what, base, values):
    kind = type(base).__name__
    return {f"{kind}.{key}": flip(what, base, **{key: value}) for key, value in values.items()}


FLIPS = {
    **flips(outcome, EvaluationSettings(), {
        "collapse_fraction": 0.6, "misfit_correlation": 0.99, "misfit_pearson_r": 0.9,
    }),
    **flips(lambda s: outcome(s, dataclasses.replace(SEEN, twin=TWIN)), EvaluationSettings(),
            {"twin_share": 0.6}),
    **flips(lambda s: outcome(s, dataclasses.replace(SEEN, amplitude_pearson_r=0.1)),
            EvaluationSettings(), {"misfit_loss": 0.1}),
    **flips(certainty, StatisticsSettings(bootstrap_resamples=200, power_simulations=200), {
        "confidence": 0.8, "bootstrap_resamples": 5000, "bootstrap_seed": 1, "power": 0.95,
        "most_seeds": 4, "power_simulations": 1000, "worthwhile_failure_difference": 0.45,
    }),
    **flips(depth, DepthSettings(fno_blocks=8), {
        "max_loss_increase": 0.0, "max_ssim_decrease": 0.0, "gradient_factor": 2.0,
    }),
    **flips(decision, runs_of("stage_a", "SILVER")[0].decision, {
        "gold": "agc", "silver": "stable", "max_loss_increase": 0.9,
        "acceptable_failure_rate": 0.9,
    }),
    **flips(flags, DiagnosticsSettings(), {
        "min_output_ratio": 1 - 1e-9, "max_p99_over_p50": 1 + 1e-9, "max_dc_share": 1e-9,
    }),
}  # fmt: skip
