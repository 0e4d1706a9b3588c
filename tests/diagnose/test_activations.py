"""The activation monitor: known numbers, planted faults, and a network left as it was."""

import json
import math

import pytest
import torch
from tests.diagnose.planted_networks import Doubling, make_block, noise
from torch import nn

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.diagnose.activations import (
    dc_share,
    layer_statistics,
    low_freq_ratio,
    monitor_activations,
)
from ptycho_torch.networks import build_generator


def build(name, **changes):
    settings = GeneratorSettings(name=name, width=4, fno_blocks=3, modes=4, **changes)
    return build_generator(settings, channels=1, patch_px=16, seed=0)


def test_a_planted_drift_doubles_the_mean_per_block_and_is_found(settings):
    blocks = nn.Sequential(*(make_block(Doubling, seed=n) for n in range(3)))
    report = monitor_activations(blocks, noise(4, 3, 8, 8), settings)
    assert report["growth_per_block"] == pytest.approx(2)
    assert [row["growth"] for row in report["blocks"]] == pytest.approx([2, 2, 2])


def test_the_statistics_of_a_layer_are_those_of_the_modulus():
    x = torch.arange(100.0).view(1, 1, 10, 10) - 50
    found = layer_statistics(x)
    modulus = x.abs().flatten()
    assert found["mean"] == pytest.approx(25)
    assert found["std"] == pytest.approx(float(modulus.std(correction=0)))
    for key, level in (("median", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert found[key] == pytest.approx(float(modulus.quantile(level)))
    assert layer_statistics(3j * torch.ones(1, 1, 4, 4))["mean"] == pytest.approx(3)


def test_dc_share_of_known_frames():
    """1 for a constant, 0 without a mean, 1/2 for one of mean and deviation 1, also if complex."""
    checks = (torch.arange(64).view(8, 8) + torch.arange(8)[:, None]) % 2 * 2.0 - 1
    frames = checks.expand(2, 3, 8, 8)
    # Means of opposite sign in two channels are means all the same.
    opposite = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    cases = ((opposite, 1), (frames, 0), (1 + frames, 0.5), (1j * (1 + frames), 0.5))
    for frame, share in cases:
        assert dc_share(frame) == pytest.approx(share)
    assert dc_share(torch.zeros(1, 1, 4, 4)) is None


def test_low_freq_ratio_is_that_of_the_nine_lowest_frequencies():
    x = noise(2, 3, 8, 12)
    spectrum = torch.fft.fft2(x).abs().square().sum(dim=(0, 1))
    low = spectrum[[0, 1, -1]][:, [0, 1, -1]].sum() / spectrum.sum()
    assert low_freq_ratio(x) == pytest.approx(float(low), rel=1e-5)
    angle = 2 * math.pi * torch.arange(8) / 8
    for cycles, share in ((1, 1.0), (2, 0.0)):
        wave = (cycles * angle + 0.3).cos().expand(1, 1, 8, 8)
        assert low_freq_ratio(wave) == pytest.approx(share, abs=1e-6)


def test_planted_faults_are_flagged_where_they_are(settings):
    """A bright pixel, a large mean, and a spectral path that says next to nothing."""
    bright = noise(2, 3, 8, 8)
    bright[..., :2, :2] *= 100
    block = make_block()
    with torch.no_grad():
        block.spectral.weight.mul_(1e-3)
    found = monitor_activations(block, bright, settings)
    assert found["layers"][0]["layer"] == "input"
    assert found["layers"][0]["flags"] == ["p99_over_p50"]
    assert found["flagged_blocks"] == ["network"]
    assert found["blocks"][0]["spectral_local_ratio"] < 0.1
    lifted = monitor_activations(make_block(), 3 + 0.1 * noise(2, 3, 8, 8), settings)
    assert lifted["layers"][0]["flags"] == ["dc_share"] and lifted["dc_share"] > 0.9
    clean = monitor_activations(make_block(), noise(2, 3, 8, 8), settings)
    assert clean["flagged_blocks"] == [] and clean["layers"][0]["flags"] == []


def test_the_input_is_seen_after_its_transform(settings):
    x = noise(2, 1, 16, 16).abs()
    plain, rooted = (
        monitor_activations(build("hybrid", input_transform=name), x, settings)["layers"][0]
        for name in ("none", "sqrt")
    )
    assert plain["mean"] == pytest.approx(float(x.mean()))
    assert rooted["mean"] == pytest.approx(float(x.sqrt().mean()))


def test_an_untrained_stable_network_is_seen_to_change_nothing(settings):
    """So its mean cannot drift before training."""
    stable = monitor_activations(build("stable_hybrid"), noise(2, 1, 16, 16).abs(), settings)
    assert {row["update_mean"] for row in stable["blocks"]} == {0.0}
    assert stable["growth_per_block"] == 1


def test_numbers_that_are_not_finite_are_null(settings):
    block = make_block()
    with torch.no_grad():
        block.local.weight.fill_(1e38)
    report = monitor_activations(block, 1e3 * noise(2, 3, 8, 8), settings)
    assert report["blocks"][0]["output_mean"] is None and report["growth_per_block"] is None
    json.dumps(report, allow_nan=False)


def test_watching_changes_no_result_and_leaves_no_hook(settings):
    network, x = build("hybrid"), noise(2, 1, 16, 16)
    before, seen = network(x), []
    handle = network.lift.register_forward_hook(lambda *_: seen.append(1))
    report = monitor_activations(network, x, settings)
    handle.remove()
    assert seen == [1]  # Another's hook stays and works.
    assert report["layers"][-1]["layer"] == "output"
    with pytest.raises(RuntimeError):
        monitor_activations(network, noise(2, 9, 16, 16), settings)
    assert torch.equal(network(x), before)
    assert not any(m._forward_hooks for m in network.modules())
    assert all(p.grad is None for p in network.parameters())
