"""Gradient clipping: none, by norm, by value, or adaptive per unit (AGC).

Letters: O output channels (units), I input channels, R and K row and column frequencies.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from ptycho_torch.config.clip import AdaptiveClip, Clip, NoClip, NormClip, ValueClip
from ptycho_torch.generators.spectral import SpectralConv

Unit = tuple[Parameter, int | None]
"""A parameter and the axis along which its units lie; None: the whole tensor is one unit."""


@dataclass(frozen=True, slots=True)
class ClipReport:
    """How many parts a step had and how many were clipped: units for AGC, elements for value,
    one for the global norm."""

    parts: int
    clipped: int


def unit_axes(network: nn.Module) -> list[Unit]:
    """Return every parameter with the axis of its units, the output channels.

    Vectors (biases, a norm's weights) are one unit, as in Brock et al.'s own code.

    Raises
    ------
    TypeError
        If a module has a weight of which the output axis is not known.
    """
    units: list[Unit] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim <= 1:
                units.append((parameter, None))
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                units.append((parameter, 0))
            elif isinstance(module, nn.ConvTranspose2d):
                units.append((parameter, 1))  # stored as (I, O, height, width)
            elif isinstance(module, SpectralConv):
                units.append((parameter, 4))  # stored as (R, K, I, 2, O)
            else:
                raise TypeError(
                    f"AGC does not know the output axis of {type(module).__name__}.{name}; "
                    "add it to unit_axes"
                )
    return units


def clip_gradients(units: list[Unit], clip: Clip) -> ClipReport:
    """Clip the gradients in place and say how much was clipped; absent gradients are left out.

    A complex parameter's modulus counts, so real and imaginary part keep their ratio (for `value`,
    each real part is one element).
    """
    present = [(p, axis) for p, axis in units if p.grad is not None]
    parameters = [p for p, _ in present]
    match clip:
        case NoClip():
            return ClipReport(0, 0)
        case NormClip():
            norm = nn.utils.clip_grad_norm_(parameters, clip.max_norm)
            return ClipReport(1, int(norm > clip.max_norm))
        case ValueClip():
            return _clip_values(parameters, clip.max_value)
        case AdaptiveClip():
            reports = [_clip_units(p, axis, clip) for p, axis in present]
            return ClipReport(sum(r.parts for r in reports), sum(r.clipped for r in reports))
        case _:
            assert_never(clip)


def _clip_values(parameters: list[Parameter], bound: float) -> ClipReport:
    parts = clipped = 0
    for parameter in parameters:
        assert parameter.grad is not None
        grad = parameter.grad
        real = torch.view_as_real(grad) if grad.is_complex() else grad
        parts += real.numel()
        clipped += int((real.abs() > bound).sum())
        real.clamp_(-bound, bound)
    return ClipReport(parts, clipped)


def _clip_units(parameter: Parameter, axis: int | None, clip: AdaptiveClip) -> ClipReport:
    """Scale a unit's gradient down to max_ratio * max(||weight||, floor) where it is longer."""
    assert parameter.grad is not None
    weight_norm = _unit_norms(parameter.detach(), axis).clamp_min(clip.min_weight_norm)
    grad_norm = _unit_norms(parameter.grad, axis)
    limit = clip.max_ratio * weight_norm
    too_long = grad_norm > limit
    # Only the units beyond their limit are touched: the others keep their very bits.
    factor = torch.where(too_long, limit / grad_norm.clamp_min(1e-30), torch.ones_like(limit))
    parameter.grad.mul_(factor)
    return ClipReport(too_long.numel(), int(too_long.sum()))


def _unit_norms(tensor: Tensor, axis: int | None) -> Tensor:
    others = [d for d in range(tensor.ndim) if d != axis]
    if not others:
        return tensor.abs()
    return torch.linalg.vector_norm(tensor, dim=others, keepdim=True)
