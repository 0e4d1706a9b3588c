"""`check-config`: what is done, what is to run, and why a study will not answer."""

import json
from itertools import product

import pytest
import yaml
from tests.commands import call

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import load_yaml, read_study


@pytest.fixture
def check(root, tmp_path, monkeypatch):
    """Check the tiny study with changes, beside finished runs of two of its stages."""
    monkeypatch.chdir(tmp_path)

    def run(seeds, records, **changes):
        study = load_yaml(root / "tests" / "tiny.yaml") | changes
        study["stage_a"]["seeds"] = study["stress"]["seeds"] = seeds
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
        parsed = read_study("study.yaml")
        for stage, record in records.items():
            plan = stage_plan(parsed, stage)
            for arm, seed in product(plan.arms, plan.seed_list):
                folder = tmp_path / "results/train" / plan.dataset / arm / f"seed-{seed}"
                folder.mkdir(parents=True, exist_ok=True)
                settings = run_settings(parsed, plan.dataset, arm, seed).model_dump(mode="json")
                (folder / "run.json").write_text(json.dumps(record | {"settings": settings}))
        return call("check-config", "study.yaml").replace("\n", " ")

    return run


GOOD = {"outcome": "completed", "gradient_norm": {"max": 3.0}}


def test_runs_with_the_study_s_settings_are_done(check):
    assert "2 runs on dataset 'tiny', 2 of them new, 0 done" in check(1, {})
    assert "2 runs on dataset 'tiny', 2 of them new, 2 done" in check(1, {"stage_a": GOOD})
    assert "4 runs on dataset 'tiny', 4 of them new, 2 done" in check(2, {})
    other = load_yaml("study.yaml")["training"] | {"epochs": 3}
    assert "4 runs on dataset 'tiny', 4 of them new, 0 done" in check(2, {}, training=other)


@pytest.mark.parametrize(("seeds", "warned"), [(4, True), (5, False)])
def test_too_few_seeds_for_the_level_are_said(check, seeds, warned):
    """Of five against five, 2 of 252 divisions are as extreme as can be: 0.0079 < 0.02; of four 0.029."""
    found = check(seeds, {})
    assert ("stage_a cannot decide: the least p that 4 seeds can give" in found) == warned
    assert not warned or "is 0.029, above the level of 0.02; 5 seeds are enough" in found


def test_a_grid_at_which_nothing_fails_is_said(check):
    assert "stress: no run fails at any of its rates" in check(1, {"stress": GOOD})
    assert "no run fails" not in check(1, {"stress": GOOD | {"outcome": "exploded"}})


def test_a_bound_beyond_every_gradient_is_said(check):
    """Those of the norms that no gradient of a finished run comes near."""
    clip = {"gradient_clip_algorithm": "norm", "max_norm": 1}
    execution = {"accelerator": "cpu", "threads": 1, "clip": clip}
    sweeps = {"norms": {"arm": "control", "sweep": {"clip.max_norm": [1, 2.5, 10]}}}
    assert "clip nothing" not in check(1, {}, execution=execution, sweeps=sweeps)
    found = check(1, {"norms": GOOD}, execution=execution, sweeps=sweeps)
    said = "norms: max_norm 10 clip nothing; of 3 runs that are done the largest gradient norm is 3"
    assert said in found
