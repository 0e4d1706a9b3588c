"""What a run's settings are made of; stages resolve to runs, none of which is trained twice; what is
written twice agrees."""

import json

import jsonschema
import pytest

from ptycho_torch.config.plan import seed_blocks, stage_names, stage_plan
from ptycho_torch.config.read import load_yaml, parse_study, read_study
from ptycho_torch.config.study import derive, run_settings
from ptycho_torch.config.training import NoClip


@pytest.fixture(params=["config.yaml", "full.yaml"])
def shipped(request, root):
    return parse_study(load_yaml(root / "config" / request.param), request.param)


@pytest.fixture
def data(root):
    return load_yaml(root / "config" / "config.yaml")


def plan_of(data, name):
    return stage_plan(parse_study(data, "study"), name)


def test_both_configurations_have_every_stage_of_the_protocol(shipped):
    """A value at which an arm equals another is that arm: norm 1 is `norm1`, depth 4 the control."""
    stages = ["stage_a", "stress", "clip_sweep", "crash_hunt", "stage_b", "pivot"]
    assert stage_names(shipped) == stages
    norms = {"small": [0.1, 0.3, 1, 3], "full": [1, 5, 10, 20, 50, 100]}[shipped.protocol]
    swept = stage_plan(shipped, "clip_sweep").arms
    assert swept == ("control", *("norm1" if n == 1 else f"norm1-max_norm-{n}" for n in norms))
    depths = ("control", derive(shipped).deep["control"], "control-fno_blocks-6")
    assert set(stage_plan(shipped, "crash_hunt").arms) == set(depths)
    assert shipped.stage_b.fno_blocks == 8


def test_a_variant_changes_what_it_says_and_nothing_else(shipped):
    arm = stage_plan(shipped, "clip_sweep").arms[-1]
    base, varied = (run_settings(shipped, shipped.stage_a.dataset, a, 3) for a in ("norm1", arm))
    expected = base.model_dump() | {"arm": arm}
    expected["execution"]["clip"]["max_norm"] = float(arm.removeprefix("norm1-max_norm-"))
    assert varied.model_dump() == expected


@pytest.mark.parametrize("winner", ["control", "stable", "norm1"])
def test_stage_b_is_the_winner_and_the_control_at_both_depths(shipped, winner):
    plan, deep = stage_plan(shipped, "stage_b", winner), derive(shipped).deep
    assert set(plan.arms) == {"control", winner, deep["control"], deep[winner]}
    assert (deep[winner], winner) in plan.pairs
    if winner != "control":
        assert (deep[winner], deep["control"]) in plan.pairs


def test_stage_b_needs_a_winner_of_stage_a(shipped):
    with pytest.raises(ValueError, match="is no arm of Stage A"):
        stage_plan(shipped, "stage_b", "layerscale")
    with pytest.raises(ValueError, match="there is no stage 'stage_c'; it has: stage_a"):
        stage_plan(shipped, "stage_c")


def test_the_pivot_compares_deep_arms_and_matches_them_with_shallow_ones(shipped):
    plan, deep = stage_plan(shipped, "pivot"), derive(shipped).deep
    depth = dict(plan.depth)
    assert depth[deep["agc"]] == "agc"
    assert depth[deep["layerscale"]] == "control"
    assert {other for _, other in plan.pairs} == {deep["control"]}


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
    shared = [tuple(point) for point in plan.grid if point.name in study.stage_a.arms]
    assert shared == [("control", "control", 4, 2e-3), ("stable", "stable", 4, 2e-3)]
    run = run_settings(study, "triangle_n32", plan.grid[5].name, 0)
    assert (run.generator.fno_blocks, run.training.optimizer.learning_rate) == (8, 4e-3)
    assert run.training.schedule.name == "constant"


def test_a_study_shares_five_percent_among_its_questions(shipped, data):
    levels = {name: stage_plan(shipped, name, "stable").level for name in stage_names(shipped)}
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
    assert first == plan.runs_after([[]]) == [(arm, seed) for arm in plan.arms for seed in (0, 1)]
    assert set(plan.runs_after([["agc"]])) - set(first) == {("control", 2), ("agc", 2)}
    runs = plan.runs_after([["agc"], ["agc"]])
    assert [seed for arm, seed in runs if arm == "agc"] == [0, 1, 2, 3, 4]
    # What the summary then expects: each arm whole at one of the looks.
    assert plan.runs_of({"control": 5, "agc": 5, "stable": 2, "norm1": 2}) == runs
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


RATE = "control-learning_rate-"
SWEEPS = [
    # Several keys make a grid; keys may be given by their clear ends.
    ("stable", {"learning_rate": [1e-3, 8e-3], "width": [4, 8]},
     ["stable-learning_rate-0.001-width-4", "stable-learning_rate-0.001-width-8",
      "stable-learning_rate-0.008-width-4", "stable"]),
    # Several arms, and words.
    (["control", "stable"], {"learning_rate": [1e-3, 8e-3]},
     [f"{RATE}0.001", "stable-learning_rate-0.001", "stable"]),
    ("control", {"generator.name": ["hybrid", "stable_hybrid", "fno"]}, ["stable", "fno"]),
    # 1e-3 is text in YAML 1.1; `slow` is an arm with just this setting; so is a default.
    ("control", {"learning_rate": [0.001, "8e-3"]}, [f"{RATE}0.001"]),
    ("control", {"learning_rate": [2e-3]}, ["slow"]),
    ("agc", {"clip.min_weight_norm": [0.001, 0.01]}, ["agc", "agc-min_weight_norm-0.01"]),
    # Numbers keep their digits in names.
    ("control", {"learning_rate": [1e-5, 1.2345678e-4, 1.2345679e-4]},
     [f"{RATE}1e-05", f"{RATE}0.00012345678", f"{RATE}0.00012345679"]),
    ("control", {"explode_factor": [1e6]}, ["control-explode_factor-1000000"]),
]  # fmt: skip


@pytest.mark.parametrize(("arm", "sweep", "names"), SWEEPS)
def test_a_sweep_runs_each_distinct_setting_once(data, arm, sweep, names):
    optimizer = {"name": "adam", "learning_rate": "2e-3"}
    data["arms"]["slow"] = {"hypothesis": "x", "training": {"optimizer": optimizer}}
    data["sweeps"]["one"] = {"arm": arm, "sweep": sweep, "seeds": [7]}
    plan = plan_of(data, "one")
    assert plan.arms == ("control", *names) and plan.seed_list == (7,)


def test_the_order_of_arms_and_sweeps_changes_no_runs(data):
    """Names of variants are made from settings alone."""
    other = {**data, "arms": dict(reversed(data["arms"].items()))}
    other["sweeps"] = dict(reversed(data["sweeps"].items()))
    one, two = (derive(parse_study(d, "study")) for d in (data, other))
    assert one.variants.keys() == two.variants.keys() and one.blocks == two.blocks


SHIPPED = ["config/config.yaml", "config/full.yaml", "tests/tiny.yaml"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_study_reads_and_fits_the_schema(root, name):
    study, data = read_study(root / name), load_yaml(root / name)
    schema = json.loads((root / "config/schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, schema)
    assert {"control", "agc"} <= set(study.stage_a.arms)
    data["training"]["epoch"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema)


def test_documentation_is_what_the_classes_say(root, load):
    """After a change of a class: make docs."""
    keys = load("docs/reference/keys.py")
    assert (root / "config/README.md").read_text(encoding="utf-8") == keys.readme_text()
    assert (root / "config/schema.json").read_text(encoding="utf-8") == keys.schema_text()


def test_full_study_is_the_protocol(root):
    """R3: N=64, 4 blocks, width 32, 12 modes, 1e9 photons, MAE, Adam 1e-3, batch 16, 50 epochs."""
    study, small = (read_study(root / f"config/{name}.yaml") for name in ("full", "config"))
    assert study.arms == small.arms
    assert not set(study.datasets) & set(small.datasets)  # Else runs would overwrite each other.
    data = study.datasets[study.stage_a.dataset]
    control = run_settings(study, study.stage_a.dataset, "control", 0)
    generator, training = control.generator, control.training
    assert (data.patch_px, data.images_per_split, data.photons) == (64, 2, 1e9)
    assert (data.scan.train_step_px, data.scan.test_step_px, data.object.size_px) == (4, 10, 392)
    assert data.object.set_phi and data.probe.shape == "triangle"
    network = (generator.name, generator.fno_blocks, generator.width, generator.modes)
    assert network == ("hybrid", 4, 32, 12)
    assert (training.loss, training.batch_size, training.epochs) == ("mae", 16, 50)
    assert (training.optimizer.name, training.optimizer.learning_rate) == ("adam", 1e-3)
    assert 5 <= len(study.stage_a.seed_list) <= 10
    runs = {a: run_settings(study, study.stage_a.dataset, a, 0) for a in study.stage_a.arms}
    clips = {arm: run.execution.clip for arm, run in runs.items()}
    assert clips["agc"].max_ratio == 0.01 and clips["norm1"].max_norm == 1.0
    assert clips["stable"] == clips["control"] == NoClip(gradient_clip_algorithm="none")
    assert runs["stable"].generator.name == "stable_hybrid"


def test_an_arm_changes_its_keys_and_keeps_the_others(tiny):
    tiny["arms"]["agc"]["training"] = {"optimizer": {"learning_rate": 1e-4}}
    run = run_settings(parse_study(tiny, "x"), "tiny", "agc", 3)
    assert (run.training.optimizer.learning_rate, run.training.optimizer.name) == (1e-4, "adam")
    assert run.training.epochs == 2 and run.generator.width == 4 and run.seed == 3


def test_naming_a_kind_replaces_the_block(tiny):
    """SGD's momentum means nothing to Adam; it must not be carried over."""
    tiny["training"]["optimizer"] = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.5}
    tiny["arms"]["agc"]["training"] = {"optimizer": {"name": "adam", "learning_rate": 0.1}}
    optimizer = run_settings(parse_study(tiny, "x"), "tiny", "agc", 0).training.optimizer
    assert optimizer.model_dump() == {"name": "adam", "learning_rate": 0.1}
