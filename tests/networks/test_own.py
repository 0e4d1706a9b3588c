"""A network from outside the package, as docs/own-network.md says."""

import re
import sys

import pytest
import torch
import yaml
from pydantic import ValidationError

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.train.module import PtychoModule


@pytest.fixture
def page(root, tmp_path, monkeypatch):
    """Write the page's module, put it on the path, and return its arm and the module's file."""
    text = (root / "docs" / "own-network.md").read_text(encoding="utf-8")
    code, arms = (re.search(f"```{kind}\n(.*?)```", text, re.S)[1] for kind in ("python", "yaml"))
    (tmp_path / "my_lab.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    return yaml.safe_load(arms)["arms"]["mine"], tmp_path / "my_lab.py"


def test_the_page_s_network_trains_and_its_bundle_gives_the_same_patches(
    page, run_of, train_into, tiny_data, tmp_path
):
    mine = {"mine": page[0]}
    train_into(tmp_path / "run", arm="mine", arms=mine)
    trained = read_bundle(tmp_path / "run" / "bundle").network()
    run, amplitudes = run_of("mine", arms=mine), tiny_data.train.amplitude_nCHW[:4]
    untrained, again = (PtychoModule(run, tiny_data).network for _ in "ab")
    assert trained.layers[0].weight.shape == (8, 1, 5, 5)
    assert not torch.equal(trained(amplitudes), untrained(amplitudes))
    assert torch.equal(again(amplitudes), untrained(amplitudes))


def test_an_edit_of_its_file_is_another_run(run_of, page):
    arm, file = page
    before = run_of("mine", arms={"mine": arm}).generator.source
    file.write_text(file.read_text() + "\n# edited\n")
    assert run_of("mine", arms={"mine": arm}).generator.source != before


WORDS = [
    ("their_lab:Net", {}, "there is no module 'their_lab'; install its package, or set PYTHONP"),
    ("my_lab:Net", {}, "'my_lab:Net' cannot be imported: module 'my_lab' has no attribute"),
    ("my_lab:MyNet", {"depth": 3}, "unexpected keyword argument 'depth'; 'my_lab:MyNet' is call"),
    ("torch.nn:Identity", {}, r"\(2, 1, 16, 16\), expected complex object patches"),
    ("mine", {}, "a network of your own is named 'package.module:Class'"),
]


@pytest.mark.parametrize(("name", "settings", "message"), WORDS)
@pytest.mark.usefixtures("page")
def test_what_is_no_network_is_refused_in_one_line(name, settings, message):
    words = {"name": name, "width": 2, "fno_blocks": 1, "modes": 1, "settings": settings}

    def build():
        return build_generator(GeneratorSettings(**words), channels=1, patch_px=16, seed=0)

    with pytest.raises((ValidationError, ValueError), match=message):
        build()
