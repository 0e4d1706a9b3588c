"""`ptycho-torch diagnose`: reports with the keys as they are named, and one line for a mistake."""

import json

import numpy as np
import pytest
from tests.bundles import untrained_bundle
from tests.commands import run
from tests.scans import a_scan, write_cxi

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.data.training import data_of_scan
from ptycho_torch.networks.bundle import write_bundle
from ptycho_torch.train.run import train_scan


@pytest.fixture
def bundle(tmp_path):
    """A bundle of a fresh network for 16 px; its record says nothing of a training."""

    def make(gridsize=1):
        write_bundle(tmp_path / f"{gridsize}", untrained_bundle(gridsize=gridsize))
        return tmp_path / f"{gridsize}"

    return make


@pytest.fixture
def call(tmp_path):
    """Run the command; return its status, what it said, and the report."""

    def do(*words):
        status, out, err = run("diagnose", *words, "--output", tmp_path / "out")
        path = tmp_path / "out" / f"{words[0].removesuffix('s')}_report.json"
        return status, out + err, json.loads(path.read_text()) if path.exists() else None

    return do


def test_one_block_is_probed_without_data(call):
    words = ("--block", "layerscale_hybrid", "--channels", 3, "--modes", 3, "--patch-px", 8)
    status, said, report = call("gradients", *words)
    assert status == 0 and "spectral / local gradient" in said
    assert set(report["initialisations"]) == {"1/in", "1/(in*out)"}
    assert report["network"]["block"] == "layerscale_hybrid" and report["network"]["channels"] == 3
    (block,) = report["blocks"]
    assert block["spectral_gradients"]["mean"] == pytest.approx(report["spectral_grad_mean"])


def test_a_fresh_arm_is_diagnosed_under_the_studys_thresholds(call, tiny_dataset, root):
    words = ("--config", root / "tests/tiny.yaml", "--arm", "agc-fno_blocks-3", "--seed", 2,
             "--data", tiny_dataset.splits["test"], "--groups", 4)  # fmt: skip
    status, _, report = call("gradients", *words)
    assert status == 0 and report["spectral_local_ratio"] > 0
    assert (report["network"]["seed"], report["data"]["groups"]) == (2, 4)
    assert len(report["blocks"]) == 4
    status, _, report = call("activations", *words)
    assert status == 0 and report["growth_per_block"] > 0
    assert report["thresholds"]["max_p99_over_p50"] == 5


def test_an_architecture_is_diagnosed_without_a_study_on_patterns_alone(call, tmp_path):
    np.savez(tmp_path / "only.npz", diffraction=a_scan(counts=1e4).amplitude_nHW)
    words = ("--architecture", "stable_hybrid", "--data", tmp_path / "only.npz")
    status, said, report = call("activations", *words, "--device", "cpu", "--max-samples", 8)
    assert status == 0, said
    assert report["data"]["groups"] == 8 and report["network"]["generator"] == "stable_hybrid"
    assert report["summary"]["layers"] == len(report["layers"])
    ratios = [row["low_freq_ratio"] for row in report["layers"]]  # None where a norm is still 0.
    assert all(0 <= ratio <= 1 + 1e-9 for ratio in ratios if ratio is not None)
    status, said, _ = call("gradients", *words)
    assert status == 1 and "only.npz: has no probe" in said


def test_a_bundle_made_by_train_is_diagnosed_on_any_scan(call, tmp_path, tiny_dataset, caplog):
    scan = a_scan(counts=1e4, modes=2)
    write_cxi(tmp_path / "scan.cxi", scan)
    generator = GeneratorSettings(name="layerscale_hybrid", width=4, fno_blocks=2, modes=4)
    training = FitSettings(name="made").training.model_copy(update={"epochs": 1})
    settings = FitSettings(name="made", gap_px=3.0, generator=generator, training=training)
    train_scan(data_of_scan(scan, settings), settings, tmp_path / "run")
    words = ("--bundle", tmp_path / "run/bundle", "--data", tmp_path / "scan.cxi")
    status, said, report = call("gradients", *words)
    assert status == 0 and report["loss_name"] == "mae", said
    gates = [row["norm_weights"] for row in report["blocks"]]
    # The scale starts at a thousandth, and one epoch hardly moves it.
    assert all(gate["near_zero"] == 1 and 1e-4 < gate["mean"] < 1e-2 for gate in gates)
    other = ("--bundle", tmp_path / "run/bundle", "--data", tiny_dataset.splits["train"])
    assert call("gradients", *other, "--loss", "poisson")[2]["loss_name"] == "poisson"
    assert "was trained with another probe than the data's" in caplog.text


def test_a_users_mistake_is_one_line_and_writes_nothing(call, bundle, tiny_dataset, root, tmp_path):
    tiny, data = root / "tests/tiny.yaml", tiny_dataset.splits["train"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "bundle.json").write_text('{"format": "another program\'s"}')
    mistakes = {
        ("--bundle", foreign, "--data", data): "it is no bundle, or of another version",
        ("--bundle", bundle(), "--config", tiny, "--data", data): "says which network; give one",
        ("--bundle", bundle(2), "--data", data): "groups of 4 patches, the data has 1",
        ("--config", tiny, "--data", data): "--arm NAME: an arm of",
        ("--config", tiny, "--arm", "acg", "--data", data): "no arm 'acg'; did you mean 'agc'?",
        ("--config", tiny, "--arm", "agc"): "--data FILE says which groups",
        ("--config", tiny, "--arm", "agc", "--data", tmp_path / "x.npz"): "x.npz: cannot be read",
        (): "--bundle DIR, --architecture NAME, or --config STUDY and --arm NAME says which",
    }
    mistakes = {("activations", *words): message for words, message in mistakes.items()} | {
        ("gradients", "--bundle", bundle(), "--data", data): "does not say which loss trained it",
        ("gradients", "--bundle", bundle(), "--modes", 3): "and --patch-px are of one block",
        ("gradients", "--channels", 3, "--data", data): "--loss go with --bundle, --config or",
    }
    for words, message in mistakes.items():
        status, said, report = call(*words)
        assert (status, report) == (1, None), said
        assert message in said and "Traceback" not in said
        assert said.strip().startswith("ptycho-torch: ") and said.count("\n") == 1, said
