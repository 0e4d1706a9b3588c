"""What is fast is the same function: against the plain networks, torch's layers and the whole FFT."""

import copy
import importlib.util
import sys

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import conv2d

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import GENERATORS, build_generator, convolution, truncated
from ptycho_torch.networks.convolution import Conv3x3
from ptycho_torch.networks.spectral import SpectralConv, kept_modes
from ptycho_torch.networks.winograd import WinogradConvolution, kernel_matrix, matrices


@pytest.fixture(scope="module")
def plain_network(request):
    path = request.config.rootpath / "benchmarks" / "plain_network.py"
    spec = importlib.util.spec_from_file_location("plain_network", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.plain_network


@pytest.fixture
def transformed(monkeypatch):
    """Shapes of the convolutions that went by F(4x4, 3x3)."""
    seen = []
    pays = convolution.winograd_pays

    def asked(x, out_channels):
        if pays(x, out_channels):
            seen.append(tuple(x.shape))
        return pays(x, out_channels)

    monkeypatch.setattr(convolution, "winograd_pays", asked)
    return seen


def settings(name="hybrid", **changes):
    return GeneratorSettings(**{"name": name, "width": 4, "fno_blocks": 2, "modes": 4, **changes})


def build(chosen, patch_px, channels=1, seed=0):
    """Return a network of which no part is switched off by its initial weights."""
    network = build_generator(chosen, channels=channels, patch_px=patch_px, seed=seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("norm.weight", ".scale")):
                weight.fill_(0.7)
    return network


def distance(found, expected):
    """Relative, in the root of the mean square."""
    return ((found - expected).norm() / expected.norm()).item()


def closest(found, expected, bound=2e-5):
    """Compare every pair in the units of the largest: some gradients are zero but for rounding."""
    largest = max(e.abs().max().item() for e in expected)
    for f, e in zip(found, expected, strict=True):
        assert (f - e).abs().max().item() <= bound * largest


SIZES = [
    pytest.param({"levels": 2}, 16, id="even"),
    pytest.param({"levels": 2, "modes": 3}, 10, id="odd below"),
    pytest.param({"levels": 1}, 13, id="odd"),
    pytest.param({"levels": 2, "modes": 12}, 12, id="more modes than the frame has"),
]


@pytest.mark.parametrize("name", list(GENERATORS))
@pytest.mark.parametrize("rows", ["one_sided", "two_sided"])
@pytest.mark.parametrize(("changes", "patch_px"), SIZES)
@pytest.mark.parametrize("channels", [1, 4])
def test_every_network_and_its_gradient_are_the_plain_ones(
    plain_network, name, rows, changes, patch_px, channels
):
    changes = {k: v for k, v in changes.items() if name != "fno" or k != "levels"}
    chosen = settings(name, spectral_rows=rows, **changes)
    ours = build(chosen, patch_px, channels)
    compare(ours, chosen, plain_network, torch.rand(2, channels, patch_px, patch_px))


@pytest.mark.parametrize("name", ["hybrid", "stable_hybrid"])
def test_wide_networks_take_the_transform_and_are_the_plain_ones(plain_network, name, transformed):
    chosen = settings(name, width=64)
    ours = build(chosen, 16)
    compare(ours, chosen, plain_network, torch.rand(2, 1, 16, 16))
    assert set(transformed) == {(2, 64, 16, 16), (2, 128, 16, 16)}


def compare(ours, chosen, plain_network, x):
    """Check output and gradients; gradients are read like the weights they belong to."""
    geometry = {"channels": x.shape[1], "patch_px": x.shape[-1]}
    plain = plain_network(ours, chosen, **geometry)
    found, expected = ours(x), plain(x)
    assert distance(found, expected) < 1e-5
    target = torch.randn_like(expected)
    for out in (found, expected):
        (out - target).abs().square().mean().backward()
    graded = copy.deepcopy(ours)
    with torch.no_grad():
        for gradient, weight in zip(graded.parameters(), ours.parameters(), strict=True):
            gradient.copy_(weight.grad)
    pairs = zip(
        plain_network(graded, chosen, **geometry).parameters(), plain.parameters(), strict=True
    )
    found, expected = zip(*((p.detach(), q.grad) for p, q in pairs), strict=True)
    closest(found, expected)


@pytest.mark.parametrize("size", [(16, 16), (15, 9), (6, 11), (1, 2)])
@pytest.mark.parametrize("modes", [1, 3, 20])
@pytest.mark.parametrize("two_sided", [False, True])
def test_products_are_the_whole_fft_and_so_is_their_gradient(size, modes, two_sided):
    stream = torch.Generator().manual_seed(0)
    layer = SpectralConv(3, 5, modes, size_px=size, two_sided=two_sided, generator=stream).double()
    rows, columns = kept_modes(modes, *size, two_sided=two_sided)
    made = truncated.matrices(rows, columns, size)
    layer.to_rows, layer.to_columns, layer.from_columns, layer.from_rows = made
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    outs = [layer._by_products(x), layer._by_fft(x)]
    direction = torch.randn_like(outs[0])
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(out, (x, layer.weight), direction) for out in outs]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_many_modes_of_a_large_frame_are_left_to_the_fft():
    assert truncated.pays(12, 12, (64, 64))
    assert truncated.pays(24, 12, (64, 64))
    assert not truncated.pays(512, 257, (512, 512))
    stream = torch.Generator().manual_seed(0)
    layer = SpectralConv(1, 1, 40, size_px=(64, 64), two_sided=True, generator=stream)
    layer.by_products = False
    x = torch.randn(1, 1, 64, 64)
    by_fft = layer(x)
    layer.by_products = True
    assert distance(layer(x), by_fft) < 1e-6


@pytest.mark.parametrize("size", [(16, 16), (7, 10), (5, 4), (1, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_transformed_convolution_and_its_gradient_are_the_direct_ones(size, layout):
    x, weight, bias = (
        torch.randn(*shape, dtype=torch.float64) for shape in ((2, 5, *size), (3, 5, 3, 3), (3,))
    )
    leaves = [x.to(memory_format=layout), weight.to(memory_format=layout), bias]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    outs = [WinogradConvolution.apply(*leaves), conv2d(*leaves, padding=1)]
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)
    direction = torch.randn_like(outs[0])
    gradients = [torch.autograd.grad(out, leaves, direction) for out in outs]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_transformed_convolution_loses_one_digit_of_seven():
    """Relative to float64: 2.5e-6 where the direct convolution has 6e-7."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 128, 16, 16), torch.randn(64, 128, 3, 3)
    exact = conv2d(x.double(), weight.double(), padding=1)
    assert distance(WinogradConvolution.apply(x, weight, torch.zeros(64)), exact) < 5e-6


def test_transformed_convolution_says_that_it_has_no_second_derivative():
    leaves = [torch.randn(s, requires_grad=True) for s in ((1, 2, 4, 4), (2, 2, 3, 3), (2,))]
    out = WinogradConvolution.apply(*leaves).square().sum()
    (slope,) = torch.autograd.grad(out, leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_inference_first_spoils_no_training(transformed):
    """Constants made while nothing is recorded must serve a backward pass later."""
    matrices.cache_clear()
    kernel_matrix.cache_clear()
    layer, x = Conv3x3(64, 64), torch.randn(2, 64, 16, 16)
    with torch.inference_mode():
        first = layer(x)
    second = layer(x)
    second.sum().backward()
    torch.testing.assert_close(first.clone(), second.detach(), rtol=0, atol=0)
    assert len(transformed) == 2


@pytest.mark.parametrize("name", list(GENERATORS))
def test_two_networks_as_one_batch_are_both_alone(name):
    """As seeds are trained together: values, and gradients of every weight."""
    chosen = settings(name, width=64) if name == "hybrid" else settings(name)
    networks = [build(chosen, 16, seed=seed) for seed in (0, 1)]
    x = torch.rand(2, 2, 1, 16, 16)
    stacked, _ = stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0])
    together = vmap(lambda weights, x: functional_call(skeleton, weights, (x,)))(stacked, x)
    together.abs().square().sum().backward()
    for i, network in enumerate(networks):
        alone = network(x[i])
        assert distance(together[i], alone) < 1e-5
        alone.abs().square().sum().backward()
        found, expected = zip(
            *((stacked[key].grad[i], weight.grad) for key, weight in network.named_parameters()),
            strict=True,
        )
        closest(found, expected)


@pytest.mark.parametrize("name", list(GENERATORS))
def test_half_precision_round_a_network_costs_its_digits_and_no_more(name):
    network, x = build(settings(name), 16), torch.rand(2, 1, 16, 16)
    outs, gradients = [], []
    for half in (True, False):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            outs.append(network(x))
        outs[-1].abs().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert outs[0].dtype == torch.complex64
    assert 1e-5 < distance(*outs) < 2e-2
    assert distance(*gradients) < 5e-2


def test_a_spectral_layer_keeps_its_precision_under_autocast():
    stream = torch.Generator().manual_seed(0)
    layer = SpectralConv(4, 4, 3, size_px=(16, 16), two_sided=False, generator=stream)
    x = torch.randn(1, 4, 16, 16)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
        assert distance(layer(x.bfloat16()), expected) < 1e-2


@pytest.mark.parametrize("name", list(GENERATORS))
def test_shapes_can_be_asked_for_without_memory(name):
    network = build(settings(name, width=64), 16).to("meta")
    assert network(torch.empty(2, 1, 16, 16, device="meta")).shape == (2, 1, 16, 16)


INITIAL = {
    "hybrid": (26, 11.763163971),
    "stable_hybrid": (34, 11.736038327),
    "layerscale_hybrid": (30, 11.781542114),
    "fno": (19, 12.451050434),
}
"""Tensors, and their values times 1, 2, 3 ..., as of the networks
before any of them was made fast."""


@pytest.mark.parametrize("name", list(INITIAL))
def test_names_shapes_and_initial_weights_are_those_of_earlier_bundles(name):
    chosen = settings(
        name, fno_blocks=3, modes=5, levels=None if name == "fno" else 2, spectral_rows="two_sided"
    )
    state = build_generator(chosen, channels=4, patch_px=16, seed=7).state_dict()
    assert all(weight.dtype == torch.float32 for weight in state.values())
    values = torch.cat([weight.flatten() for weight in state.values()]).double()
    places = torch.arange(1, len(values) + 1) / len(values)
    assert (len(state), (values * places).sum().item()) == pytest.approx(INITIAL[name], rel=1e-6)
