"""Seeds trained in one batched network end as they end alone, each by itself."""

import numpy as np
import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.data.batch import groups_of_split
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.train.fit import build_module
from ptycho_torch.train.loop import fit, fit_seeds
from ptycho_torch.train.module import FitModule

SEEDS = (0, 1, 2)
ARMS = {
    "hybrid": {"gradient_clip_algorithm": "none"},
    "stable_hybrid": {"gradient_clip_algorithm": "agc", "max_ratio": 0.02},
    "layerscale_hybrid": {"gradient_clip_algorithm": "norm", "max_norm": 0.5},
    "fno": {"gradient_clip_algorithm": "value", "max_value": 0.01},
}


@pytest.fixture
def modules(tiny, tiny_dataset):
    """The modules of an arm's seeds, and the splits' groups."""
    train, validation = (
        read_split(tiny_dataset.splits[s], patch_px=16) for s in ("train", "validation")
    )

    def make(name="hybrid", *, training=None):
        tiny["generator"] |= {"name": name}
        tiny["execution"] |= {"clip": ARMS[name]}
        tiny["training"] |= training or {}
        study = parse_study(tiny, "x")
        runs = [run_settings(study, "tiny", "control", seed) for seed in SEEDS]
        return [build_module(run, train, validation) for run in runs]

    return make, groups_of_split(train), groups_of_split(validation)


def apart(one, other):
    """Return the largest difference between two sets of weights, over the largest weight."""
    largest = max(v.abs().max() for v in one.weights.values())
    return float(max((one.weights[k] - v).abs().max() for k, v in other.weights.items()) / largest)


@pytest.mark.parametrize("name", ARMS)
def test_each_seed_ends_as_its_own_run_does(modules, name):
    """Rounding alone differs: over 30 steps weights stay within 1e-3 of the largest (two seeds are
    1000 times as far apart), losses within 2e-3."""
    make, train, validation = modules
    more = {"epochs": 2 if name == "hybrid" else 1}
    more |= {"intensity_scale": "learned"} if name == "fno" else {}
    alone = [fit(module, train, validation) for module in make(name, training=more)]
    together = fit_seeds(make(name, training=more), train, validation)
    for one, other in zip(alone, together, strict=True):
        assert (one.steps, one.stopped, other.together) == (other.steps, None, 3)
        assert apart(one.last, other.last) < 1e-3
        assert other.last.gain == pytest.approx(one.last.gain, rel=1e-4)
        for mine, theirs in zip(one.history.rows, other.history.rows, strict=True):
            for key in ("mae_train_loss", "mae_val_loss", "grad_norm_max", "learning_rate"):
                assert theirs[key] == pytest.approx(mine[key], rel=2e-3), key
            assert theirs["clipped_share"] == pytest.approx(mine["clipped_share"], abs=0.01)
    assert apart(together[0].last, together[1].last) > 0.1


def test_the_first_step_agrees_to_rounding(modules):
    """Before rounding has had time to grow: gradients, hence the first loss and norm."""
    make, train, validation = modules
    one_step = {"epochs": 1, "batch_size": 121}
    alone = [fit(m, train, validation).history.norms_before for m in make(training=one_step)]
    together = fit_seeds(make(training=one_step), train, validation)
    np.testing.assert_allclose([f.history.norms_before for f in together], alone, rtol=1e-5)


@pytest.mark.parametrize("step", [3, 6])
def test_a_seed_that_fails_leaves_the_others_alone(modules, monkeypatch, step):
    """Seed 1's loss is NaN from some step on, in the gradient as well; an epoch has four steps."""
    make, train, validation = modules
    few = {"batch_size": 30}
    whole = fit_seeds(make(training=few), train, validation)
    plain, count = FitModule.training_loss, []

    def planted(self, batch, patches=None):
        loss = plain(self, batch, patches)
        if self.run.seed == 1:
            count.append(1)
        return loss * float("nan") if self.run.seed == 1 and len(count) >= step else loss

    monkeypatch.setattr(FitModule, "training_loss", planted)
    found = fit_seeds(make(training=few), train, validation)
    stopped = found[1].stopped
    assert (stopped.outcome, stopped.step, found[1].steps) == ("non_finite", step, step - 1)
    assert all(torch.isfinite(v).all() for v in found[1].last.weights.values())
    for n in (0, 2):
        assert found[n].stopped is None and found[n].steps == 8
        assert apart(found[n].last, whole[n].last) < 1e-3


def test_seeds_that_all_fail_end_the_training(modules, monkeypatch):
    make, train, validation = modules
    plain = FitModule.training_loss
    monkeypatch.setattr(FitModule, "training_loss", lambda self, *a: plain(self, *a) * float("inf"))
    found = fit_seeds(make(), train, validation)
    assert [(f.stopped.outcome, f.stopped.step, f.steps) for f in found] == [
        ("non_finite", 1, 0)
    ] * 3
