"""Stages resolve to runs: nothing is trained twice, and mistakes are named."""

import copy

import pytest

from ptycho_torch.config.arms import deep, derive, run_settings
from ptycho_torch.config.jobs import seed_blocks
from ptycho_torch.config.plan import stage_names, stage_plan
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.runtime.errors import InputError


@pytest.fixture(params=["config.yaml", "full.yaml"])
def shipped(request, root):
    return parse_study(load_yaml(root / "config" / request.param), request.param)


@pytest.fixture
def data(root):
    return load_yaml(root / "config" / "config.yaml")


def plan_of(data, name, winner=None):
    return stage_plan(parse_study(data, "study"), name, winner)


def test_both_configurations_have_every_stage_of_the_protocol(shipped):
    assert stage_names(shipped) == [
        "stage_a", "stress", "clip_sweep", "crash_hunt", "stage_b", "pivot",
    ]  # fmt: skip
    norms = {"small": [0.1, 0.3, 1, 3], "full": [1, 5, 10, 20, 50, 100]}
    assert shipped.sweeps["clip_sweep"].sweep == {"clip.max_norm": norms[shipped.protocol]}
    assert shipped.sweeps["crash_hunt"].sweep == {"generator.fno_blocks": [4, 6, 8]}
    assert shipped.stage_b.fno_blocks == 8
    assert run_settings(shipped, shipped.stage_a.dataset, "layerscale", 0).generator.name == (
        "layerscale_hybrid"
    )


def test_arms_that_no_stage_runs_can_be_named_by_one(data):
    data["stage_a"]["arms"].append("fno")
    study = parse_study(data, "study")
    assert "fno" in stage_plan(study, "stage_a").arms
    assert run_settings(study, study.stage_a.dataset, "fno", 0).generator.name == "fno"


def test_a_value_at_which_an_arm_equals_another_is_that_arm(shipped):
    """The sweep's norm 1.0 is `norm1`, and the crash hunt's four blocks are the control."""
    swept = stage_plan(shipped, "clip_sweep").arms
    assert "norm1" in swept and len(swept) == 1 + len(
        shipped.sweeps["clip_sweep"].sweep["clip.max_norm"]
    )
    assert stage_plan(shipped, "crash_hunt").arms[0] == "control"
    assert deep(shipped, "control") in stage_plan(shipped, "crash_hunt").arms
    assert "norm1-max_norm-1" not in derive(shipped).variants


def test_a_variant_changes_what_it_says_and_nothing_else(shipped):
    name = shipped.stage_a.dataset
    arm = stage_plan(shipped, "clip_sweep").arms[-1]
    base, varied = (run_settings(shipped, name, one, 3) for one in ("norm1", arm))
    norm = float(arm.removeprefix("norm1-max_norm-"))
    assert varied.execution.clip.max_norm == norm
    expected = base.model_dump()
    expected["execution"]["clip"]["max_norm"] = norm
    assert varied.model_dump() == {**expected, "arm": arm}
    assert run_settings(shipped, name, deep(shipped, "stable"), 0).generator.name == "stable_hybrid"


@pytest.mark.parametrize("winner", ["control", "stable", "agc", "norm1"])
def test_stage_b_is_the_winner_and_the_control_at_both_depths(shipped, winner):
    plan = stage_plan(shipped, "stage_b", winner)
    expected = {"control", winner, deep(shipped, "control"), deep(shipped, winner)}
    assert set(plan.arms) == expected
    assert (deep(shipped, winner), winner) in plan.pairs
    if winner != "control":
        assert (deep(shipped, winner), deep(shipped, "control")) in plan.pairs


def test_stage_b_needs_a_winner_of_stage_a(shipped):
    for wrong in (None, "layerscale", "nobody"):
        with pytest.raises(ValueError, match="is no arm of Stage A"):
            stage_plan(shipped, "stage_b", wrong)
    with pytest.raises(ValueError, match="there is no stage 'stage_c'; it has: stage_a"):
        stage_plan(shipped, "stage_c")


def test_the_pivot_compares_deep_arms_and_matches_them_with_shallow_ones(shipped):
    plan = stage_plan(shipped, "pivot")
    depth = dict(plan.depth)
    assert depth[deep(shipped, "agc")] == "agc"
    assert depth[deep(shipped, "layerscale")] == "control"
    assert {other for _, other in plan.pairs} == {deep(shipped, "control")}


def test_the_stress_stage_is_every_arm_at_every_rate_and_depth(data):
    data["stress"] = {"arms": ["control", "stable"], "learning_rates": [1e-3, 2e-3, 4e-3],
                      "depths": [4, 8], "epochs": 8, "seeds": 2}  # fmt: skip
    data["training"]["schedule"] = {"name": "constant"}
    data["training"]["optimizer"]["learning_rate"] = 2e-3
    study = parse_study(data, "study")
    plan = stage_plan(study, "stress")
    assert len(plan.grid) == len(plan.arms) == 12 and plan.pairs == ()
    assert plan.primary == (("stable", "control"),)
    # What Stage A trains is not trained again.
    shared = [point for point in plan.grid if point.name in study.stage_a.arms]
    assert [(point.arm, point.depth, point.rate) for point in shared] == [
        ("control", 4, 2e-3), ("stable", 4, 2e-3),
    ]  # fmt: skip
    run = run_settings(study, "triangle_n32", plan.grid[5].name, 0)
    assert (run.generator.fno_blocks, run.training.optimizer.learning_rate) == (8, 4e-3)
    assert run.training.schedule.name == "constant"


def test_a_study_shares_five_percent_among_its_questions(shipped, data):
    levels = {name: stage_plan(shipped, name, "stable").level for name in stage_names(shipped)}
    assert sum(filter(None, levels.values())) == pytest.approx(0.05)
    assert (levels["stage_a"], levels["stress"], levels["pivot"]) == (0.02, 0.02, 0.01)
    assert levels["clip_sweep"] is levels["stage_b"] is None
    del data["stress"]
    assert plan_of(data, "stage_a").level == pytest.approx(0.05 * 2 / 3)
    # Only arms that ask for something; without any, all.
    assert plan_of(data, "stage_a").primary == (("stable", "control"), ("agc", "control"))
    for arm in ("stable", "agc"):
        data["arms"][arm]["success"] = {}
    assert len(plan_of(data, "stage_a").primary) == 3


def test_looks_train_the_next_seeds_of_what_is_undecided_and_of_the_control(data):
    data["stage_a"]["seeds"] = {"looks": [2, 3, 5]}
    plan = plan_of(data, "stage_a")
    first = plan.runs_after([])
    assert first == [(arm, seed) for arm in plan.arms for seed in (0, 1)]
    assert plan.runs_after([["agc"]])[len(first) :] == [("control", 2), ("agc", 2)]
    assert plan.runs_after([[]]) == first
    runs = plan.runs_after([["agc"], ["agc"]])
    assert [seed for arm, seed in runs if arm == "agc"] == [0, 1, 2, 3, 4]
    # What the summary then expects: each arm whole at one of the looks.
    assert sorted(plan.runs_of({"control": 5, "agc": 5, "stable": 2, "norm1": 2})) == sorted(runs)
    assert ("stable", 2) in plan.runs_of({"stable": 3})
    # Other stages have the seeds of the first look.
    assert plan_of(data, "pivot").seed_list == plan_of(data, "clip_sweep").seed_list == (0, 1)
    data["stress"] |= {"seeds": {"looks": [1, 2]}}
    stress = plan_of(data, "stress")
    went_on = {arm for arm, seed in stress.runs_after([["stable"]]) if seed == 1}
    assert {point.arm for point in stress.grid if point.name in went_on} == {"control", "stable"}


def test_a_job_of_several_seeds_has_those_of_one_look_and_no_run_twice(data):
    data["stage_a"]["seeds"], data["seeds_per_job"] = {"looks": [3, 5]}, 2
    blocks = seed_blocks(parse_study(data, "study"))
    mine = [seeds for _, seeds, arms in blocks if "agc" in arms]
    assert mine == [(0, 1), (3, 4)]  # 2 is alone.
    runs = [(name, arm, seed) for name, seeds, arms in blocks for arm in arms for seed in seeds]
    assert len(runs) == len(set(runs))
    data["seeds_per_job"] = 1
    assert seed_blocks(parse_study(data, "study")) == []


def test_any_setting_can_be_swept_by_the_clear_end_of_its_key(data):
    data["sweeps"]["rates"] = {
        "arm": "stable",
        "sweep": {"learning_rate": [1e-3, 8e-3], "width": [4, 8]},
        "seeds": [7],
    }
    plan = plan_of(data, "rates")
    assert plan.arms == (
        "control", "stable-learning_rate-0.001-width-4", "stable-learning_rate-0.001-width-8",
        "stable-learning_rate-0.008-width-4", "stable",
    )  # fmt: skip
    assert plan.seed_list == (7,)
    run = run_settings(parse_study(data, "study"), "triangle_n32", plan.arms[1], 7)
    assert (run.training.optimizer.learning_rate, run.generator.width) == (1e-3, 4)


def test_several_arms_can_be_swept_at_once(data):
    data["sweeps"]["rates"] = {
        "arm": ["control", "stable"],
        "sweep": {"learning_rate": [8e-3, 1e-3]},
    }
    assert plan_of(data, "rates").arms == (
        "control", "control-learning_rate-0.001", "stable-learning_rate-0.001", "stable",
    )  # fmt: skip
    data["sweeps"]["rates"]["arm"] = ["control", "stabl"]
    with pytest.raises(
        InputError, match=r"sweeps.rates.arm: there is no arm 'stabl'; did you mean"
    ):
        plan_of(data, "rates")


def test_the_bound_of_any_clipping_rule_can_be_swept(data):
    for arm, key in (("norm1", "max_norm"), ("agc", "max_ratio")):
        data["sweeps"]["bounds"] = {"arm": arm, "sweep": {"clip.value": [0.5]}}
        assert plan_of(data, "bounds").arms[-1] == f"{arm}-{key}-0.5"
    data["sweeps"]["bounds"] = {"arm": "control", "sweep": {"clip.value": [0.5]}}
    with pytest.raises(InputError, match="there is no setting 'clip.value'"):
        plan_of(data, "bounds")


def test_words_can_be_swept_too(data):
    data["sweeps"]["networks"] = {
        "arm": "control", "sweep": {"generator.name": ["hybrid", "stable_hybrid", "fno"]},
    }  # fmt: skip
    assert plan_of(data, "networks").arms == ("control", "stable", "fno")


MISTAKES = [
    ({"clip.max_norn": [1]}, "sweeps.odd.sweep: there is no setting 'clip.max_norn'; did you mean"),
    ({"generator.wdth": [1]}, "did you mean 'generator.width'?"),
    (
        {"datasets.triangle_n32.photons": [1e5]},
        "is no setting of a run; a sweep varies generator",
    ),
    ({"name": ["fno"]}, "'name' is not clear; it may be generator.name or"),
    ({"clip.max_norm": [1, 1]}, "sweeps.odd.sweep.clip.max_norm: names 1 more than once"),
    ({"clip.max_norm": [5, 5.0]}, "clip.max_norm: names 5 more than once"),
    ({"learning_rate": ["1e-3", 0.001]}, "learning_rate: names 0.001 more than once"),
    ({"clip.value": [1], "clip.max_norm": [2]}, "are the same setting; name it once"),
    ({"clip.max_norm": []}, "List should have at least 1 item"),
    ({"clip.max_norm": [-5]}, "arms.norm1 with max_norm -5: execution.clip.max_norm"),
    ({"generator.fno_blocks": [2], "levels": [4]}, "4 levels need at least 4 Fourier blocks"),
    ({"loss": ["mse loss"]}, "a run's folder cannot be called 'norm1-loss-mse loss'"),
]


@pytest.mark.parametrize(("sweep", "message"), MISTAKES)
def test_a_mistake_in_a_sweep_is_told_with_its_place(data, sweep, message):
    data["sweeps"]["odd"] = {"arm": "norm1", "sweep": sweep}
    with pytest.raises(InputError) as caught:
        parse_study(data, "study.yaml")
    assert message in str(caught.value) and str(caught.value).startswith("study.yaml: ")


def test_settings_written_in_other_words_are_the_same_run(data):
    """Defaults written out or left out, 1e-3 and 0.001, an arm written out under a derived name."""
    data["arms"]["slow"] = {
        "hypothesis": "x", "training": {"optimizer": {"name": "adam", "learning_rate": "1e-3"}},
    }  # fmt: skip
    data["arms"]["control-fno_blocks-6"] = {"hypothesis": "x", "generator": {"fno_blocks": 6}}
    data["sweeps"]["rates"] = {"arm": "control", "sweep": {"learning_rate": [0.001, "8e-3"]}}
    data["sweeps"]["floors"] = {"arm": "agc", "sweep": {"clip.min_weight_norm": [0.001, 0.01]}}
    assert plan_of(data, "rates").arms == ("control", "slow")
    assert plan_of(data, "floors").arms == ("control", "agc", "agc-min_weight_norm-0.01")
    assert "control-fno_blocks-6" in plan_of(data, "crash_hunt").arms


def test_numbers_keep_their_digits_in_names(data):
    data["sweeps"]["fine"] = {
        "arm": "control", "sweep": {"learning_rate": [0.00012345678, 0.00012345679, 1e-5]},
    }  # fmt: skip
    assert plan_of(data, "fine").arms[1:] == (
        "control-learning_rate-1e-05", "control-learning_rate-0.00012345678",
        "control-learning_rate-0.00012345679",
    )  # fmt: skip
    data["sweeps"] = {"large": {"arm": "control", "sweep": {"explode_factor": [1e6]}}}
    assert plan_of(data, "large").arms[1] == "control-explode_factor-1000000"


def test_a_block_of_sweeps_may_be_empty(data):
    data["sweeps"] = None
    assert stage_names(parse_study(data, "study")) == ["stage_a", "stress", "stage_b", "pivot"]


def test_the_same_arm_twice_and_names_that_share_a_folder_are_refused(data):
    twin = {**data, "arms": {**data["arms"], "baseline": {"hypothesis": "x"}}}
    twin["stage_a"] = {**data["stage_a"], "arms": [*data["stage_a"]["arms"], "baseline"]}
    with pytest.raises(InputError, match="'baseline' has the very settings of 'control'"):
        parse_study(twin, "study")
    shared = {**data, "arms": {**data["arms"], "Control": {"hypothesis": "x"}}}
    with pytest.raises(InputError, match="'control' and 'Control' would share a folder"):
        parse_study(shared, "study")


def change(path, value):
    def apply(data):
        *steps, last = path.split(".")
        for step in steps:
            data = data[step]
        data[last] = value

    return apply


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (change("sweeps.clip_sweep.arm", "nrm1"), "sweeps.clip_sweep.arm: there is no arm 'nrm1'; did you mean 'norm1'?"),
        (change("stress.arms", ["control", "stabl"]), "stress.arms: there is no arm 'stabl'; did you mean 'stable'?"),
        (change("stress.arms", ["stable"]), "stress.arms: must have Stage A's control, 'control'"),
        (change("stress.learning_rates", [0.1, 0.2]), "stress.learning_rates: List should have at least 3"),
        (change("stress.learning_rates", [0.1, 0.3, 0.2]), "must rise, each number once, got 0.1, 0.3, 0.2"),
        (change("stress.learning_rates", [0.1, 0.1, 0.2]), "must rise, each number once, got 0.1, 0.1, 0.2"),
        (change("stage_a.seeds", {"looks": [6, 6]}), "stage_a.seeds.looks: must rise, each number once, got 6, 6"),
        (change("stage_a.seeds", {"looks": [6]}), "stage_a.seeds.looks: List should have at least 2"),
        (change("statistics", {"effect_of_interest": 0}), "statistics.effect_of_interest: Input should be greater than 0"),
        (change("sweeps.study", {"arm": "control", "sweep": {"width": [4]}}), "'study' is taken"),
        (change("sweeps.Odd-Name", {"arm": "control", "sweep": {"width": [4]}}), "sweeps"),
        (change("stage_b", None), "pivot: needs the block stage_b"),
        (change("pivot", None), "decision: needs the blocks stage_b and pivot"),
        (change("pivot.arm", "stable"), "'stable' is a cure or the control itself"),
        (change("pivot.cures", ["layerscale"]), "pivot.cures: there is no arm of Stage A 'layerscale'"),
        (change("pivot.cures", ["agc", "agc"]), "pivot.cures: names agc more than once"),
        (change("pivot.cures", ["agc", "control"]), "'control' is the control, which is no cure"),
        (change("arms.agc.execution", {"clip": {"max_norm": 1.0}}), "arms.agc.execution.clip: NoClip has no key 'max_norm'"),
        (change("decision.gold", "norm1"), "decision.gold: there is no cure 'norm1'"),
        (change("stage_b.fno_blocks", 4), "4 is the depth that 'control' has already"),
        (change("stage_b.max_los_increase", 1), "has no key 'max_los_increase'"),
    ],
)  # fmt: skip
def test_blocks_that_do_not_fit_are_told_with_their_place(data, apply, message):
    apply(data)
    with pytest.raises(InputError) as caught:
        parse_study(data, "study.yaml")
    assert message in str(caught.value)


def test_the_order_of_arms_and_sweeps_changes_no_runs(data):
    """Names of variants are made from settings alone."""
    other = copy.deepcopy(data)
    other["arms"] = dict(reversed(other["arms"].items()))
    other["sweeps"] = dict(reversed(other["sweeps"].items()))
    one, two = (parse_study(d, "study") for d in (data, other))
    assert set(derive(one).variants) == set(derive(two).variants)
    for name in derive(one).variants:
        assert run_settings(one, "triangle_n32", name, 1) == run_settings(
            two, "triangle_n32", name, 1
        )
