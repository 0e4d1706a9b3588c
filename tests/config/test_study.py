"""What a run's settings are made of, and that what is written twice agrees."""

import json

import jsonschema
import pytest

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import load_yaml, parse_study, read_study

SHIPPED = ["config/config.yaml", "config/full.yaml", "tests/tiny.yaml"]


@pytest.fixture
def keys(load):
    return load("docs/reference/keys.py")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_study_reads_and_fits_the_schema(root, keys, name):
    study = read_study(root / name)
    data, schema = load_yaml(root / name), json.loads(keys.schema_text())
    jsonschema.validate(data, schema)
    assert {"control", "agc"} <= set(study.stage_a.arms)
    data["training"]["epoch"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema)


def test_documentation_is_what_the_classes_say(root, keys):
    """After a change of a class: make docs."""
    assert (root / "config/README.md").read_text(encoding="utf-8") == keys.readme_text()
    assert (root / "config/schema.json").read_text(encoding="utf-8") == keys.schema_text()


def test_small_and_full_study_have_the_same_arms_and_keys(root):
    small, full = (load_yaml(root / name) for name in SHIPPED[:2])
    assert small["arms"] == full["arms"]

    def keys(data):
        if not isinstance(data, dict):
            return None
        # Kinds differ on purpose: a decaying rate in minutes, planned looks where runs are long.
        return {k: k in ("schedule", "seeds") or keys(v) for k, v in data.items()}

    (small_name, small["datasets"]), (full_name, full["datasets"]) = (
        d["datasets"].popitem() for d in (small, full)
    )
    assert small_name != full_name, "runs of the two would overwrite each other"
    assert keys(small) == keys(full)


def test_full_study_is_the_protocol(root):
    """R3: N=64, 4 blocks, width 32, 12 modes, 1e9 photons, MAE, Adam 1e-3, batch 16, 50 epochs."""
    study = read_study(root / "config/full.yaml")
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
    assert (
        clips["control"].gradient_clip_algorithm == "none" and clips["stable"] == clips["control"]
    )
    assert runs["stable"].generator.name == "stable_hybrid"


def test_an_arm_changes_its_keys_and_keeps_the_others(tiny):
    tiny["arms"]["agc"]["training"] = {"optimizer": {"learning_rate": 1e-4}}
    run = run_settings(parse_study(tiny, "x"), "tiny", "agc", 3)
    assert (run.training.optimizer.learning_rate, run.training.optimizer.name) == (1e-4, "adam")
    assert run.training.epochs == 2 and run.generator.width == 4 and run.seed == 3


def test_naming_a_kind_replaces_the_block(tiny):
    """Adam's betas mean nothing to SGD; they must not be carried over."""
    tiny["training"]["optimizer"]["beta1"] = 0.5
    tiny["arms"]["agc"]["training"] = {"optimizer": {"name": "sgd", "learning_rate": 0.1}}
    optimizer = run_settings(parse_study(tiny, "x"), "tiny", "agc", 0).training.optimizer
    assert optimizer.model_dump() == {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}
