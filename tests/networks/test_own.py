"""A network from outside the package, as docs/own-network.md says."""

import re
import sys

import pytest
import torch
import yaml
from pydantic import ValidationError

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.data.training import data_of_splits
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule
from ptycho_torch.train.run import train_run


@pytest.fixture
def page(root, tmp_path, monkeypatch):
    """Write the page's module, put it on the path, and return its arm and the module's file."""
    text = (root / "docs" / "own-network.md").read_text(encoding="utf-8")
    code, arms = (re.findall(f"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "yaml"))
    (tmp_path / "my_lab.py").write_text("\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    found = {name: arm for text in arms for name, arm in yaml.safe_load(text)["arms"].items()}
    return found, tmp_path / "my_lab.py"


@pytest.fixture(scope="module")
def tiny_data(tiny_dataset):
    return data_of_splits(tiny_dataset.splits, tiny_dataset.dataset, patch_px=16)


def run_of(root, arm, **training):
    study = load_yaml(root / "tests" / "tiny.yaml")
    study["arms"]["mine"] = arm
    study["training"] |= training
    return run_settings(parse_study(study, "study"), "tiny", "mine", 0)


def test_the_page_s_network_trains_and_its_bundle_gives_the_same_patches(
    root, page, tiny_dataset, tmp_path
):
    run = run_of(root, page[0]["mine"])
    split = {"splits": tiny_dataset.splits, "dataset": tiny_dataset.dataset}
    train_run(run, **split, folder=tmp_path / "run", threads=1)
    bundle = read_bundle(tmp_path / "run" / "bundle")
    data = data_of_splits(**split, patch_px=16)
    trained, untrained = bundle.network(), PtychoModule(run, data).network
    amplitudes = data.train.amplitude_BCHW[:4]
    assert trained.layers[0].weight.shape == (8, 1, 5, 5)
    assert not torch.equal(trained(amplitudes), untrained(amplitudes))
    again = PtychoModule(run, data).network
    assert torch.equal(again(amplitudes), untrained(amplitudes))


def test_an_edit_of_its_file_is_another_run(root, page):
    arms, file = page
    before = {name: run_of(root, arms[name]) for name in ("mine", "centred")}
    assert before == {name: run_of(root, arms[name]) for name in before}
    file.write_text(file.read_text() + "\n# edited\n")
    assert all(run_of(root, arms[name]) != run for name, run in before.items())


def trained(root, arm, data, folder=None, **training):
    module = PtychoModule(run_of(root, arm, **training), data)
    return fit(module, data.train, data.validation, folder=folder)


def test_an_optimiser_and_a_rule_of_ones_own_do_what_torch_s_do(root, page, tiny_data):
    """Beside those that are known here: the same weights, or nearly."""
    file = page[1]
    own = {
        "optimizer": {
            "name": "torch.optim:SGD",
            "learning_rate": 0.02,
            "settings": {"momentum": 0.9},
        }
    }
    ours = {"optimizer": {"name": "sgd", "learning_rate": 0.02}}
    found, known = (
        trained(root, {"hypothesis": "-", "training": t}, tiny_data) for t in (own, ours)
    )
    for name, weight in known.last.weights.items():
        torch.testing.assert_close(found.last.weights[name], weight, rtol=1e-4, atol=1e-6)
    file.write_text(
        "from torch import nn\nclass Norm:\n    def __init__(self, most):\n        self.most = most\n"
        "    def __call__(self, parameters):\n        nn.utils.clip_grad_norm_(parameters, self.most)\n"
    )
    sys.modules.pop("my_lab", None)
    clip = {"gradient_clip_algorithm": "my_lab:Norm", "settings": {"most": 0.05}}
    known_clip = {"gradient_clip_algorithm": "norm", "max_norm": 0.05}
    found, known = (
        trained(root, {"hypothesis": "-", "execution": {"clip": c}}, tiny_data)
        for c in (clip, known_clip)
    )
    for name, weight in known.last.weights.items():
        torch.testing.assert_close(found.last.weights[name], weight, rtol=1e-4, atol=1e-6)
    assert found.module.history.clipped == known.module.history.clipped > 0


def test_what_a_rule_remembers_is_in_the_checkpoint(root, page, tiny_data):
    page[1].write_text(
        "import torch\nclass Counted(torch.nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.register_buffer('steps', torch.zeros(()))\n"
        "    def forward(self, parameters):\n        self.steps += 1\n"
    )
    sys.modules.pop("my_lab", None)
    clip = {"gradient_clip_algorithm": "my_lab:Counted"}
    found = trained(root, {"hypothesis": "-", "execution": {"clip": clip}}, tiny_data)
    assert found.module.state_dict()["own_clip.steps"] == found.module.monitor.steps > 0


def test_an_optimiser_of_ones_own_does_not_move_on_a_bad_step(root, page, tiny_data, monkeypatch):
    plain, steps, kept = PtychoModule.training_loss, [], []

    def planted(self, batch):
        steps.append(len(steps) + 1)
        if steps[-1] == 5:
            kept.append(self.snapshot().weights)
        return plain(self, batch) * (float("nan") if steps[-1] >= 5 else 1)

    monkeypatch.setattr(PtychoModule, "training_loss", planted)
    found = trained(root, page[0]["radam"], tiny_data)
    failure = found.module.monitor.failure
    assert (failure.outcome, failure.step) == ("non_finite", 5)
    assert all(torch.equal(found.last.weights[name], w) for name, w in kept[0].items())


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            {"training": {"optimizer": {"name": "torch.optim:Adan", "learning_rate": 1}}},
            "has no attribute 'Adan'",
        ),
        (
            {
                "training": {
                    "optimizer": {
                        "name": "torch.optim:SGD",
                        "learning_rate": 1,
                        "settings": {"speed": 2},
                    }
                }
            },
            "unexpected keyword argument 'speed'",
        ),
        (
            {"execution": {"clip": {"gradient_clip_algorithm": "their:Rule"}}},
            "there is no module 'their'",
        ),
        ({"execution": {"clip": {"gradient_clip_algorithm": "torch.nn:Linear"}}}, "in_features"),
    ],
)
def test_what_is_no_optimiser_or_rule_is_one_line(root, tiny_data, arm, message):
    with pytest.raises(InputError, match=message) as error:
        trained(root, {"hypothesis": "-", **arm}, tiny_data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "their_lab:Net",
            {},
            "there is no module 'their_lab'; install its package, or set PYTHONP",
        ),
        ("my_lab:Net", {}, "'my_lab:Net' cannot be imported: module 'my_lab' has no attribute"),
        (
            "my_lab:MyNet",
            {"depth": 3},
            "unexpected keyword argument 'depth'; 'my_lab:MyNet' is call",
        ),
        (
            "torch.nn:Identity",
            {},
            r"to torch.float32 \(2, 1, 16, 16\), expected complex object patches",
        ),
        ("mine", {}, "a network of your own is named 'package.module:Class'"),
    ],
)
@pytest.mark.usefixtures("page")
def test_what_is_no_network_is_refused_in_one_line(name, settings, message):
    words = {"name": name, "width": 2, "fno_blocks": 1, "modes": 1, "settings": settings}

    def build():
        return build_generator(GeneratorSettings(**words), channels=1, patch_px=16, seed=0)

    with pytest.raises((ValidationError, ValueError), match=message):
        build()
