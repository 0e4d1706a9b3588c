"""A network, an optimiser and a clipping rule from outside the package (docs/own-network.md)."""

import re
import sys

import pytest
import torch
import yaml

from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule


@pytest.fixture
def page(root, tmp_path, monkeypatch):
    """Write the page's module, put it on the path, and return its arms and the module's file."""
    text = (root / "docs" / "own-network.md").read_text(encoding="utf-8")
    code, arms = (re.findall(f"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "yaml"))
    (tmp_path / "my_lab.py").write_text("\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    found = {name: arm for text in arms for name, arm in yaml.safe_load(text)["arms"].items()}
    return found, tmp_path / "my_lab.py"


@pytest.fixture
def trained(run_of, tiny_data):
    """Train an arm with these blocks."""

    def train(**blocks):
        run = run_of("mine", arms={"mine": {"hypothesis": "-"} | blocks})
        return fit(PtychoModule(run, tiny_data), tiny_data.train, tiny_data.validation)

    return train


def test_the_network_of_the_page_trains(page, run_of, train_into, tiny_data, tmp_path):
    mine = {"mine": page[0]["mine"]}
    train_into(tmp_path / "run", arm="mine", arms=mine)
    trained = read_bundle(tmp_path / "run" / "bundle").network()
    run, amplitudes = run_of("mine", arms=mine), tiny_data.train.amplitude_BCHW[:4]
    untrained, again = (PtychoModule(run, tiny_data).network for _ in "ab")
    assert trained.layers[0].weight.shape == (8, 1, 5, 5)
    assert not torch.equal(trained(amplitudes), untrained(amplitudes))
    assert torch.equal(again(amplitudes), untrained(amplitudes))


def test_an_edit_of_its_file_is_another_run(run_of, page):
    arms, file = page
    before = {name: run_of(name, arms=arms) for name in ("mine", "centred")}
    assert before == {name: run_of(name, arms=arms) for name in before}
    file.write_text(file.read_text() + "\n# edited\n")
    assert all(run_of(name, arms=arms) != run for name, run in before.items())


RULES = """
from torch import nn, zeros
class Norm:
    def __init__(self, most):
        self.most = most
    def __call__(self, parameters):
        nn.utils.clip_grad_norm_(parameters, self.most)
class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", zeros(()))
    def forward(self, parameters):
        self.steps += 1
"""
ADAM = {"name": "torch.optim:Adam", "learning_rate": 2e-3, "settings": {"eps": 1e-8}}


def test_those_of_ones_own_do_what_the_same_ones_of_ours_do(page, trained):
    """And what a rule remembers is in the checkpoint."""
    page[1].write_text(RULES)
    rule = {"gradient_clip_algorithm": "my_lab:Norm", "settings": {"most": 0.05}}
    found = trained(training={"optimizer": ADAM}, execution={"clip": rule})
    norm = {"gradient_clip_algorithm": "norm", "max_norm": 0.05}
    ours = {"name": "adam", "learning_rate": 2e-3}
    known = trained(training={"optimizer": ours}, execution={"clip": norm})
    for name, weight in known.last.weights.items():
        torch.testing.assert_close(found.last.weights[name], weight, rtol=1e-4, atol=1e-6)
    shares = [[r["clipped_share"] for r in one.module.history.rows] for one in (found, known)]
    assert shares[0] == shares[1] and min(shares[0]) > 0
    found = trained(execution={"clip": {"gradient_clip_algorithm": "my_lab:Counted"}})
    assert found.module.state_dict()["clipper.own.steps"] == found.module.monitor.steps > 0


def test_the_rule_of_the_page_takes_means_out_of_gradients(page, trained, monkeypatch):
    seen, plain = [], PtychoModule.training_step

    def after_step(self, *batch):
        plain(self, *batch)
        seen.extend(p.grad.flatten(1).mean(dim=1) for p in self.parameters() if p.ndim > 1)

    monkeypatch.setattr(PtychoModule, "training_step", after_step)
    trained(**page[0]["centred"])
    assert seen and max(float(mean.abs().max()) for mean in seen) < 1e-7


def test_an_optimiser_of_ones_own_does_not_move_on_a_bad_step(page, trained, monkeypatch):
    plain, steps, kept = PtychoModule.training_loss, [], []

    def planted(self, batch):
        steps.append(len(steps) + 1)
        if steps[-1] == 5:
            kept.append(self.snapshot().weights)
        return plain(self, batch) * (float("nan") if steps[-1] >= 5 else 1)

    monkeypatch.setattr(PtychoModule, "training_loss", planted)
    found = trained(**page[0]["radam"])
    failure = found.module.monitor.failure
    assert (failure.outcome, failure.step) == ("non_finite", 5)
    assert all(torch.equal(found.last.weights[name], w) for name, w in kept[0].items())


def optimizer(name="torch.optim:SGD", **more):
    return {"training": {"optimizer": {"name": name, "learning_rate": 1, **more}}}


def rule(name):
    return {"execution": {"clip": {"gradient_clip_algorithm": name}}}


def network(name, **settings):
    return {"generator": {"name": name, "settings": settings}}


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (optimizer("torch.optim:Adan"), "'torch.optim' has no 'Adan'"),
        (optimizer(settings={"speed": 2}), "argument 'speed'"),
        (rule("their:Rule"), "no module 'their'; install its package, or set PYTHONP"),
        (rule("torch.nn:Linear"), "in_features"),
        (network("their_lab:Net"), "no module 'their_lab'; install its package, or set PYTHONP"),
        (network("my_lab:Net"), "'my_lab:Net' cannot be imported: module 'my_lab' has no attri"),
        (network("my_lab:MyNet", depth=3), "argument 'depth'; 'my_lab:MyNet' is call"),
        (network("torch.nn:Identity"), r"\(2, 1, 16, 16\), expected complex object patches"),
        (network("mine"), "a network of your own is named 'package.module:Class'"),
    ],
)
@pytest.mark.usefixtures("page")
def test_what_is_no_optimiser_rule_or_network_is_one_line(trained, blocks, message):
    with pytest.raises(InputError, match=message) as error:
        trained(**blocks)
    assert "\n" not in str(error.value)
