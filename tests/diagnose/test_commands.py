"""`ptycho-torch diagnose`: reports with the keys as they are named, and one line for a mistake."""

import json
import math
import sys

import pytest
import torch

from ptycho_torch import cli
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import Bundle, BundleSettings, write_bundle


@pytest.fixture
def bundle(tmp_path):
    """A bundle of a fresh network for 16 px; its record says nothing of a training."""

    def make(channels=1, record=None):
        generator = GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4)
        network = build_generator(generator, channels=channels, patch_px=16, seed=0)
        settings = BundleSettings(
            generator=generator, patch_px=16, channels=channels, object_big=True,
            gridsize=math.isqrt(channels), input_scale=1.0,
            norm_Y_I=1.0, intensity_scale=1.0, intensity_scale_source="measured",
            mean_amplitude=0.1, dataset="tiny",
        )  # fmt: skip
        probe = torch.ones(1, 16, 16, dtype=torch.complex64)
        weights = dict(network.state_dict())
        write_bundle(tmp_path / "b", Bundle(settings=settings, weights=weights, probe_MHW=probe,
                                            record=record or {}))  # fmt: skip
        return tmp_path / "b"

    return make


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run the command line in process; return its status, what it said, and the report."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ptycho-torch", "diagnose", *map(str, words),
                                          "--output", str(tmp_path / "out")])  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        path = tmp_path / "out" / f"{words[0].removesuffix('s')}_report.json"
        report = json.loads(path.read_text()) if path.exists() else None
        return ended.value.code or 0, said.out + said.err, report

    return run


KEYS = {"spectral_grad_mean", "local_grad_mean", "spectral_local_ratio", "flagged"}
LAYER_KEYS = {"mean", "std", "median", "p95", "p99", "p99_over_p50", "dc_share"}


def test_one_block_is_probed_without_data(call):
    status, said, report = call(
        "gradients", "--block", "layerscale_hybrid", "--channels", 3, "--modes", 3, "--patch-px", 8
    )
    assert status == 0 and "spectral / local gradient" in said
    assert report.keys() >= KEYS and set(report["initialisations"]) == {"1/in", "1/(in*out)"}
    assert report["network"]["block"] == "layerscale_hybrid" and report["network"]["channels"] == 3


def test_a_fresh_arm_is_diagnosed_under_the_studys_thresholds(call, tiny_dataset, root):
    words = ("--config", root / "tests/tiny.yaml", "--arm", "agc-fno_blocks-3", "--seed", 2,
             "--data", tiny_dataset.splits["test"], "--groups", 4)  # fmt: skip
    status, _, report = call("gradients", *words)
    assert status == 0 and report.keys() >= KEYS
    assert (report["network"]["seed"], report["data"]["groups"]) == (2, 4)
    assert len(report["blocks"]) == 4
    status, _, report = call("activations", *words)
    assert status == 0 and report["growth_per_block"] > 0
    assert all(row.keys() >= LAYER_KEYS for row in report["layers"])
    assert set(report["inputs"]) == {"none", "sqrt", "log1p", "instance_norm"}
    assert report["thresholds"]["max_p99_over_p50"] == 5


def test_a_bundle_is_diagnosed(call, bundle, tiny_dataset, caplog):
    data = ("--data", tiny_dataset.splits["train"])
    status, _, report = call("gradients", "--bundle", bundle(), *data, "--loss", "poisson")
    assert status == 0 and report["loss_name"] == "poisson" and report.keys() >= KEYS
    assert call("activations", "--bundle", bundle(), *data)[0] == 0
    assert "was trained with another probe than the data's" in caplog.text


def test_a_users_mistake_is_one_line_and_writes_nothing(call, bundle, tiny_dataset, root, tmp_path):
    tiny, data = root / "tests/tiny.yaml", tiny_dataset.splits["train"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "bundle.json").write_text('{"format": "another program\'s"}')
    mistakes = {
        ("--bundle", foreign, "--data", data): "it is no bundle, or one of another version",
        ("--bundle", bundle(), "--data", data, "--seed", 1): "--seed is of an untrained network",
        ("--bundle", bundle(4), "--data", data): "groups of 4 patches, the data has 1",
        ("--config", tiny, "--data", data): "--arm NAME: an arm of",
        ("--config", tiny, "--arm", "acg", "--data", data): "no arm 'acg'; did you mean 'agc'?",
        ("--config", tiny, "--arm", "agc"): "--data FILE says which groups",
        ("--config", tiny, "--arm", "agc", "--data", tmp_path / "x.npz"): "x.npz: cannot be read",
        (): "--bundle DIR, or --config STUDY and --arm NAME",
    }
    for words, message in mistakes.items():
        status, said, report = call("activations", *words)
        assert (status, report) == (1, None), said
        assert message in said and "Traceback" not in said
        assert said.strip().startswith("ptycho-torch: ") and said.count("\n") == 1, said
    only_gradients = {
        ("--bundle", bundle(), "--data", data): "does not say which loss trained it; give --loss",
        ("--bundle", bundle(), "--data", data, "--modes", 3): "--modes is of one block by itself",
        ("--channels", 3, "--data", data): "--data goes with --bundle or --config",
    }
    for words, message in only_gradients.items():
        status, said, report = call("gradients", *words)
        assert (status, report) == (1, None) and message in said, said
