"""Clipping rules, each told from its nearest wrong neighbour."""

import pytest
import torch
from torch.nn import Parameter

from ptycho_torch.config.training import AdaGClip, AdaptiveClip, NoClip, NormClip, ValueClip, ZClip
from ptycho_torch.networks.layers import SpectralConv
from ptycho_torch.train.clip import Clipper, total_norm, unit_axes

AGC = AdaptiveClip(gradient_clip_algorithm="agc", max_ratio=0.01)
NORM = NormClip(gradient_clip_algorithm="norm", max_norm=1.0)
VALUE = ValueClip(gradient_clip_algorithm="value", max_value=1.0)
NONE = NoClip(gradient_clip_algorithm="none")


def clip_all(units, clip):
    """Clip, hold what is said of the norm to what is left, and return parts and clipped parts."""
    report = Clipper(clip, units)(total_norm(units))
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
    unit = torch.complex(*layer.weight.unbind(3))[..., 2].norm().item()
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


def spectral_and_bias(norms):
    """Return parameters with gradients of these norms, of a spectral layer and a vector."""
    stream = torch.Generator().manual_seed(0)
    layer = SpectralConv(2, 3, 2, size_px=(8, 8), two_sided=False, generator=stream)
    units = [(layer.weight, 4), (Parameter(torch.zeros(5)), None)]
    for (parameter, _), norm in zip(units, norms, strict=True):
        grad = torch.randn(parameter.shape, generator=stream)
        parameter.grad = grad * (norm / grad.norm())
    return units


def clipped_in_turn(clip, steps):
    """Return the norms that steps of these norms are left with, one memory through all of them."""
    clipper = Clipper(clip, spectral_and_bias(steps[0]))
    left = []
    for norms in steps:
        units = clipper.units = spectral_and_bias(norms)
        before = [p.grad.clone() for p, _ in units]
        report = clipper(total_norm(units))
        torch.testing.assert_close(report.norm, total_norm(units))
        for (p, _), grad in zip(units, before, strict=True):
            # Scaled as a whole, the imaginary part with the real one.
            torch.testing.assert_close(p.grad / p.grad.norm(), grad / grad.norm())
        left.append([p.grad.norm().item() for p, _ in units])
    return left


def test_adagc_holds_each_tensor_to_the_mean_of_its_own_norms():
    """Algorithm 1 of Wang et al., by hand: two steps of warm-up, then 2 times the running mean."""
    clip = AdaGClip(
        gradient_clip_algorithm="adagc",
        **{"max_growth": 2.0, "decay": 0.5, "warmup_steps": 2, "warmup_max_norm": 5.0},
    )
    steps = [(6.0, 8.0), (3.0, 4.0), (100.0, 1.0), (100.0, 1.0)]
    # Warm-up: (6, 8) is clipped to (3, 4). Then the means are 3 and 4; after a step 4.5 and 2.5.
    expected = [[3.0, 4.0], [3.0, 4.0], [6.0, 1.0], [9.0, 1.0]]
    assert clipped_in_turn(clip, steps) == [pytest.approx(norms, rel=1e-5) for norms in expected]


def test_zclip_holds_the_norm_to_its_own_past():
    """Section 3 of Kumar et al., by hand: mean 5 and variance 1 of the norms 4 and 6, then a norm
    9 standard deviations above is scaled to 5 + 3^2/9 = 6, and 6 is what is learned from it."""
    clip = ZClip(
        gradient_clip_algorithm="zclip", **{"max_score": 3.0, "decay": 0.5, "warmup_steps": 2}
    )
    none = 1e-6
    steps = [(4.0, none), (6.0, none), (14.0, none), (7.0, none), (none, 9.0)]
    # After 6: mean 5.5, variance (1 + 0.25) / 2 = 0.625. 7 is 1.9 above and stays: mean 6.25,
    # variance (0.625 + 0.5625) / 2 = 0.59375. 9 is 3.57 above.
    spread = 0.59375**0.5
    last = 6.25 + 9 / (2.75 / spread) * spread
    left = [sum(norms) for norms in clipped_in_turn(clip, steps)]
    assert left == pytest.approx([4, 6, 6, 7, last], rel=1e-4)
