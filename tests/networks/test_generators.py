"""Networks: counts, depth, identity at step 0, variance, the spectral layer."""

import numpy as np
import pytest
import torch

from ptycho_torch.config.generator import NAMES, GeneratorSettings, plan_levels
from ptycho_torch.networks import GENERATORS, build_generator, count_parameters
from ptycho_torch.networks.layers import (
    FourierBlock,
    LayerScaleFourierBlock,
    SpectralConv,
    StableFourierBlock,
)
from ptycho_torch.train.clip import unit_axes


def settings(**changes):
    known = {"name": "hybrid", "width": 8, "fno_blocks": 3, "modes": 4}
    return GeneratorSettings(**known | changes)


def build(patch_px=32, channels=1, seed=0, **changes):
    return build_generator(settings(**changes), channels=channels, patch_px=patch_px, seed=seed)


def spectral(modes, size, two_sided=False, channels=(3, 5)):
    stream = torch.Generator().manual_seed(0)
    return SpectralConv(*channels, modes, size_px=size, two_sided=two_sided, generator=stream)


@pytest.mark.parametrize(
    ("name", "stored", "full"),
    [
        ("hybrid", 9_403_618, 17_202_402),
        ("stable_hybrid", 9_405_090, 17_203_874),
        ("layerscale_hybrid", 9_405_826, 17_204_610),
        ("depthscale_hybrid", 9_403_618, 17_202_402),
        ("ffno_hybrid", 8_336_322, 16_135_106),
        ("fno", 656_002, 656_002),
    ],
)
def test_counts_at_the_protocols_size_and_a_unit_axis_of_each_weight(name, stored, full):
    assert set(GENERATORS) == set(NAMES)  # The registry's, and the configuration's.
    network = build(name=name, width=32, fno_blocks=4, modes=12, patch_px=64)
    assert count_parameters(network) == {"stored": stored, "full": full}
    assert len(unit_axes(network)) == len(list(network.parameters()))


def test_two_sided_layer_agrees_with_neuraloperator(root):
    """Numbers of neuraloperator 2.0.0, SpectralConv(2, 3, n_modes=(6, 6), bias=False) with random
    weights in columns 0..2: its rows run from -3 to 2, ours from 0 to 2, then -3 to -1."""
    with np.load(root / "tests/networks/neuraloperator.npz") as oracle:
        weight, x, output = (torch.from_numpy(oracle[key]) for key in ("weight", "x", "output"))
    layer = spectral(3, (12, 12), True, channels=(2, 3))
    ours = torch.cat([weight[3:], weight[:3]])
    with torch.no_grad():
        layer.weight.copy_(torch.stack([ours.real, ours.imag], dim=3))
    torch.testing.assert_close(layer(x), output, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [4, 64])
def test_initial_weights_preserve_variance(channels):
    """Mean squared modulus 1/in_channels: not 1/(in*out), which starves wide layers."""
    layer = spectral(12, (64, 64), channels=(channels, channels))
    modulus = torch.complex(*layer.weight.unbind(3)).abs().square().mean().item()
    assert modulus == pytest.approx(1 / channels, rel=0.05)
    real = layer.weight.select(3, 0).std().item()
    assert real == pytest.approx((2 * channels) ** -0.5, rel=0.05)
    # Band-limited noise (frequency zero and the axes aside) keeps its power per channel.
    spectrum = torch.zeros(32, channels, 64, 33, dtype=torch.complex64)
    spectrum[:, :, 1:12, 1:12] = torch.randn(32, channels, 11, 11, dtype=torch.complex64)
    x = torch.fft.irfft2(spectrum, s=(64, 64))
    assert (layer(x).var() / x.var()).item() == pytest.approx(1, rel=0.15)


def block_of(block):
    """Return a block and an input for it."""
    torch.manual_seed(0)
    stream = torch.Generator().manual_seed(0)
    made = block(6, 4, size_px=(16, 16), two_sided=False, generator=stream)
    return made, torch.randn(2, 6, 16, 16)


def test_a_stable_block_is_the_identity_at_step_0_and_its_update_has_zero_mean_at_any_scale():
    block, x = block_of(StableFourierBlock)
    torch.testing.assert_close(block(x), x, atol=0, rtol=0)
    torch.nn.init.constant_(block.norm.weight, 3.0)
    x = x + 5
    update = block(x) - x
    assert update.std() > 1
    assert update.mean(dim=(-2, -1)).abs().max() < 1e-4
    assert FourierBlock._update(block, x).mean() > 0.1  # GELU alone drifts upwards


def test_layer_scale_gates_each_channel_from_a_thousandth_on():
    """At step 0 the update's standard deviation is the scale, and every weight has a gradient."""
    block, x = block_of(LayerScaleFourierBlock)
    update = block._update(x)
    spread = update.std(dim=(-2, -1), correction=0)
    torch.testing.assert_close(spread, torch.full((2, 6), 1e-3), rtol=1e-3, atol=0)
    assert update.mean(dim=(-2, -1)).abs().max() < 1e-6
    block(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in block.parameters())
    with torch.no_grad():
        block.scale[2] = 0
    torch.testing.assert_close(block(x)[:, 2], x[:, 2], atol=0, rtol=0)
    assert not torch.equal(block(x)[:, 3], x[:, 3])


def test_levels_share_the_blocks_odd_ones_go_to_the_deepest_and_the_cap_holds():
    levels = plan_levels(settings(fno_blocks=8), 64)
    assert [(at.side_px, at.blocks) for at in levels] == [(64, 2), (32, 2), (16, 2), (8, 2)]
    levels = plan_levels(settings(fno_blocks=6, channel_cap=20), 64)
    assert [(at.blocks, at.channels) for at in levels] == [(1, 8), (1, 16), (2, 20), (2, 20)]
    assert [at.side_px for at in plan_levels(settings(fno_blocks=4), 100)] == [100, 50, 25]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": 34}, "more than frames of 64 px have: at most 33"),
        ({"name": "fno", "channel_cap": 20}, "one resolution"),
    ],
)
def test_infeasible_settings_are_refused_before_any_layer_is_built(changes, message, monkeypatch):
    built = []
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda self: built.append(self))
    with pytest.raises(ValueError, match=message):
        build(patch_px=64, **changes)
    assert not built
