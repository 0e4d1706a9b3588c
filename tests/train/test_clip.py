"""Clipping rules, each told from its nearest wrong neighbour."""

import pytest
import torch
from torch.nn import Parameter

from ptycho_torch.config.training import AdaptiveClip, NoClip, NormClip, ValueClip
from ptycho_torch.networks.spectral import SpectralConv
from ptycho_torch.train.clip import clip_gradients, total_norm, unit_axes

AGC = AdaptiveClip(gradient_clip_algorithm="agc", max_ratio=0.01)
NORM = NormClip(gradient_clip_algorithm="norm", max_norm=1.0)
VALUE = ValueClip(gradient_clip_algorithm="value", max_value=1.0)
NONE = NoClip(gradient_clip_algorithm="none")


def clip_all(units, clip):
    """Clip, hold what is said of the norm to what is left, and return parts and clipped parts."""
    report = clip_gradients(units, clip, total_norm(units))
    torch.testing.assert_close(report.norm, total_norm(units))
    return report.parts, int(report.clipped)


def with_gradient(weight, grad):
    parameter = Parameter(weight)
    parameter.grad = grad
    return parameter


def test_adaptive_clip_of_convolutions_is_the_formula_of_brock_et_al():
    """Section 4, over each output channel's fan-in: G <- factor ||W||* / ||G|| * G where larger. A
    clip of the whole tensor, which lets one runaway unit slow the others, fails here."""
    stream = torch.Generator().manual_seed(0)
    weight, grad = (torch.randn(5, 3, 3, 3, generator=stream) for _ in range(2))
    weight[4] = 0  # a unit at zero moves by the floor
    grad *= torch.tensor([1e-4, 1, 10, 1e-3, 1])[:, None, None, None]
    expected = grad.clone()
    for i in range(5):
        limit = 0.01 * max(weight[i].square().sum().sqrt().item(), 1e-3)
        norm = grad[i].square().sum().sqrt().item()
        if norm > limit:
            expected[i] = grad[i] * limit / norm
    parameter = with_gradient(weight, grad.clone())
    clip_all([(parameter, 0)], AGC)
    torch.testing.assert_close(parameter.grad, expected)


def test_spectral_weights_are_clipped_per_output_channel():
    """A runaway output channel leaves the others; the wrong axis (the last input) fails here."""
    stream = torch.Generator().manual_seed(0)
    layer = SpectralConv(3, 4, 2, size_px=(8, 8), two_sided=False, generator=stream)
    layer.weight.grad = torch.full_like(layer.weight, 1e-6)
    layer.weight.grad[..., 2] = 1.0
    before = layer.weight.grad.clone()
    assert clip_all(unit_axes(layer), AGC) == (4, 1)
    unit = layer.complex_weight()[..., 2].norm().item()
    assert layer.weight.grad[..., 2].norm().item() == pytest.approx(0.01 * unit)
    torch.testing.assert_close(layer.weight.grad[..., [0, 1, 3]], before[..., [0, 1, 3]])


def test_units_of_other_layers_lie_on_their_own_axis_or_are_refused_by_name():
    """A transposed convolution has its outputs on the second."""
    layer = torch.nn.ConvTranspose2d(6, 2, 2, bias=False)
    layer.weight.grad = torch.full_like(layer.weight, 1e3)
    assert clip_all(unit_axes(layer), AGC) == (2, 2)
    with pytest.raises(TypeError, match=r"Bilinear\.weight"):
        unit_axes(torch.nn.Bilinear(2, 3, 4))


@pytest.mark.parametrize(
    ("rule", "grads", "expected", "report"),
    [
        (NORM, [3.0, 4.0], [0.6, 0.8], (1, 1)),
        (NORM, [0.3, 0.4], [0.3, 0.4], (1, 0)),
        (VALUE, [-5.0, 0.5], [-1.0, 0.5], (2, 1)),
        (NONE, [1e9, 0.0], [1e9, 0.0], (0, 0)),
    ],
)
def test_global_rules_worked_out_by_hand(rule, grads, expected, report):
    """Two parameters: by norm all gradients together, by value each element."""
    a, b = (with_gradient(torch.zeros(1), torch.tensor([g])) for g in grads)
    assert clip_all([(a, None), (b, None)], rule) == report
    assert [a.grad.item(), b.grad.item()] == pytest.approx(expected)
