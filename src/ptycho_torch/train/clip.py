"""Gradient clipping: none, by norm, by value, or adaptive per unit (AGC).

Letters: O output channels (units), I input channels, R and K row and column frequencies.
"""

from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from ptycho_torch.config.training import AdaptiveClip, Clip, NoClip, NormClip, ValueClip
from ptycho_torch.networks.spectral import SpectralConv

Unit = tuple[Parameter, int | None]
"""A parameter and the axis along which its units lie; None: the whole tensor is one unit."""


class ClipReport(NamedTuple):
    """How many parts a step had and how many were clipped (units for AGC, elements for value, one
    for the global norm), and the gradient's norm afterwards."""

    parts: int
    clipped: Tensor
    norm: Tensor


def unit_axes(network: nn.Module) -> list[Unit]:
    """Return every parameter with the axis of its units, the output channels; vectors (biases, a
    norm's weights) are one unit, as in Brock et al.'s own code. `TypeError` if a module has a
    weight of which the output axis is not known."""
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
                what = f"{type(module).__name__}.{name}"
                raise TypeError(f"AGC does not know the output axis of {what}; add it to unit_axes")
    return units


def total_norm(units: list[Unit]) -> Tensor:
    """Return the 2-norm of all gradients taken as one vector, on their device."""
    return nn.utils.get_total_norm([p.grad for p, _ in units if p.grad is not None])


def clip_gradients(units: list[Unit], clip: Clip, norm: Tensor) -> ClipReport:
    """Clip the gradients in place and report how much was clipped; absent gradients are left out,
    and nothing waits for the device. norm: their `total_norm`."""
    present = [(p, axis) for p, axis in units if p.grad is not None]
    match clip:
        case NoClip():
            return ClipReport(0, torch.zeros_like(norm), norm)
        case NormClip():
            nn.utils.clip_grads_with_norm_([p for p, _ in present], clip.max_norm, norm)
            # By the factor that torch has scaled them with.
            after = norm * (clip.max_norm / (norm + 1e-6)).clamp(max=1.0)
            return ClipReport(1, norm > clip.max_norm, after)
        case ValueClip():
            grads = [p.grad for p, _ in present if p.grad is not None]
            clipped = torch.stack([(grad.abs() > clip.max_value).sum() for grad in grads]).sum()
            nn.utils.clip_grad_value_([p for p, _ in present], clip.max_value)
            return ClipReport(sum(grad.numel() for grad in grads), clipped, total_norm(present))
        case AdaptiveClip():
            return _clip_units(present, clip, norm)
        case _:
            assert_never(clip)


def _clip_units(units: list[Unit], clip: AdaptiveClip, norm: Tensor) -> ClipReport:
    """Scale a unit's gradient down to max_ratio * max(||weight||, floor) where it is longer."""
    grads = [p.grad for p, _ in units if p.grad is not None]
    weight_norms = [_unit_norms(p.detach(), axis) for p, axis in units]
    grad_norms = [_unit_norms(grad, axis) for grad, (_, axis) in zip(grads, units, strict=True)]
    # All units of all parameters at once: a network has dozens of small tensors.
    weight_norm, grad_norm = (
        torch.cat([n.flatten() for n in norms]) for norms in (weight_norms, grad_norms)
    )
    limit = clip.max_ratio * weight_norm.clamp_min(clip.min_weight_norm)
    too_long = grad_norm > limit
    # Only the units beyond their limit are touched: the others keep their very bits.
    factor = torch.where(too_long, limit / grad_norm.clamp_min(1e-30), torch.ones_like(limit))
    factors = factor.split([n.numel() for n in grad_norms])
    shaped = [f.view_as(n) for f, n in zip(factors, grad_norms, strict=True)]
    torch._foreach_mul_(grads, shaped)
    clipped = too_long.sum()
    after = torch.linalg.vector_norm(torch.where(too_long, limit, grad_norm))
    # Untouched gradients keep the very number that they were measured with.
    return ClipReport(too_long.numel(), clipped, torch.where(clipped > 0, after, norm))


def _unit_norms(tensor: Tensor, axis: int | None) -> Tensor:
    """Return the 2-norm of each unit, with every other axis of length 1."""
    others = [d for d in range(tensor.ndim) if d != axis]
    return torch.linalg.vector_norm(tensor, dim=others, keepdim=True)
