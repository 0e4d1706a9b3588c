"""What is fast is the same function: against plain networks and the whole FFT, also recomputed."""

import copy
import math

import pytest
import torch

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import GENERATORS, build_generator
from ptycho_torch.networks.generators import INPUT_TRANSFORMS, complex_patches, recompute_parts
from ptycho_torch.networks.layers import FourierBlock, SpectralConv


def settings(name="hybrid", **changes):
    return GeneratorSettings(**{"name": name, "width": 4, "fno_blocks": 2, "modes": 4, **changes})


def build(chosen, patch_px, channels=1, seed=0):
    """Return a network of which no part is switched off, or hidden, by its initial weights."""
    network = build_generator(chosen, channels=channels, patch_px=patch_px, seed=seed)
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("bias", "norm.weight", ".scale")):
                weight.copy_(0.3 * torch.randn(weight.shape, generator=stream) + 0.5)
    return network


def distance(found, expected):
    """Relative, in the root of the mean square."""
    return ((found - expected).norm() / expected.norm()).item()


ENDS = {"input_transform": "sqrt", "output_mode": "amplitude_phase"}
SIZES = [
    pytest.param({}, 16, id="even"),
    pytest.param(ENDS, 16, id="other ends"),
    pytest.param({"modes": 3}, 18, id="odd below"),
    pytest.param({}, 13, id="odd"),
    pytest.param({"modes": 7}, 16, id="more modes than the deepest frame has"),
]


@pytest.mark.parametrize("name", list(GENERATORS))
@pytest.mark.parametrize(("rows", "channels"), [("one_sided", 1), ("two_sided", 4)])
@pytest.mark.parametrize(("changes", "patch_px"), SIZES)
def test_layers_are_the_plain_networks(bench, name, rows, changes, patch_px, channels):
    """As published: torch's own layers and the whole FFT, every mode stored; and gradients."""
    chosen = settings(name, spectral_rows=rows, **changes)
    ours, geometry = build(chosen, patch_px, channels), {"channels": channels, "patch_px": patch_px}
    plain_network = bench("plain_network").plain_network
    plain = plain_network(ours, chosen, **geometry)
    x = torch.rand(2, channels, patch_px, patch_px)
    target = torch.randn(2, channels, patch_px, patch_px, dtype=torch.complex64)
    layers = []
    for network in (ours, plain):
        seen = {}
        for key, module in network.named_modules():
            module.register_forward_hook(lambda m, i, out, k=key, seen=seen: seen.update({k: out}))
        (network(x) - target).abs().square().mean().backward()
        layers.append(seen)
    for key, expected in layers[1].items():
        if key in layers[0]:  # The plain block has a norm in any case.
            assert distance(layers[0][key], expected) < 1e-5, key
    owners = {key.rpartition(".")[0] for key, _ in ours.named_parameters()}
    assert {"", *owners} <= layers[1].keys()
    # Gradients are put where weights are, to be laid out as the plain network's.
    graded = copy.deepcopy(ours)
    with torch.no_grad():
        for gradient, weight in zip(graded.parameters(), ours.parameters(), strict=True):
            gradient.copy_(weight.grad)
    found = plain_network(graded, chosen, **geometry).parameters()
    expected = [p.grad for p in plain.parameters()]
    # In the units of the largest: some gradients are zero but for rounding.
    bound = 2e-5 * max(e.abs().max().item() for e in expected)
    assert all((f - e).abs().max() <= bound for f, e in zip(found, expected, strict=True))


def test_the_ends_of_a_network_by_hand():
    """What the plain networks share with ours."""
    x = torch.tensor([-1.0, 0.0, 4.0])
    assert INPUT_TRANSFORMS["sqrt"](x).tolist() == [0, 0, 2]
    assert INPUT_TRANSFORMS["log1p"](x)[2].item() == pytest.approx(math.log(5))
    raw = torch.tensor([1.0, 2.0, 0.5, -3.0])[None, :, None, None]
    assert complex_patches(raw, "real_imag").flatten().tolist() == [1 + 0.5j, 2 - 3j]
    polar = complex_patches(raw, "amplitude_phase").flatten()
    assert polar.abs().tolist() == pytest.approx([math.log1p(math.exp(a)) for a in (1, 2)])
    assert polar.angle().tolist() == pytest.approx([math.pi * math.tanh(p) for p in (0.5, -3)])


def test_a_spectral_layer_keeps_its_precision_under_autocast():
    stream = torch.Generator().manual_seed(0)
    layer = SpectralConv(4, 4, 3, size_px=(16, 16), two_sided=False, generator=stream)
    x = torch.randn(1, 4, 16, 16)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
        assert distance(layer(x.bfloat16()), expected) < 1e-2


@pytest.mark.parametrize("name", GENERATORS)
def test_recomputing_changes_no_number_and_works_twice(name):
    """Weights bit for bit; a block runs once more backward, and once where nothing is learned."""
    chosen = settings(name, fno_blocks=3)
    plain, lean = build(chosen, 16), recompute_parts(build(chosen, 16))
    calls = []
    for block in lean.modules():
        if isinstance(block, FourierBlock):
            block.spectral.register_forward_hook(lambda module, *_: calls.append(module))
    x = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        lean(x)
    once = len(calls)
    for network in (plain, lean):
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, fused=True)
        for _ in range(2):
            optimizer.zero_grad()
            (network(x) - 1).abs().mean().backward()
            optimizer.step()
    assert len(calls) == once + 2 * 2 * once
    assert list(lean.state_dict()) == list(plain.state_dict())
    assert all(map(torch.equal, lean.parameters(), plain.parameters()))
