"""Gradient clipping: none, by norm, by value, per unit (AGC), or by a gradient's own past (AdaGC,
ZClip). A complex weight's gradient is a pair of real numbers, and its norm that of both.

Letters: O output channels (units), I input channels, R and K row and column frequencies.
"""

from collections.abc import Sequence
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from ptycho_torch.config.generator import imported
from ptycho_torch.config.training import (
    AdaGClip,
    AdaptiveClip,
    Clip,
    NoClip,
    NormClip,
    OwnClip,
    ValueClip,
    ZClip,
)
from ptycho_torch.networks.layers import SpectralConv

Unit = tuple[Parameter, int | None]
"""A parameter and the axis along which its units lie; None: the whole tensor is one unit."""


class ClipReport(NamedTuple):
    """How many parts a step had and how many were clipped (units for AGC, tensors for AdaGC,
    elements for value, one for a global norm), and the gradient's norm afterwards."""

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
                raise TypeError(f"agc: the output axis of {what} is not known; clip otherwise")
    return units


def total_norm(units: list[Unit]) -> Tensor:
    """Return the 2-norm of all gradients taken as one vector, on their device."""
    return nn.utils.get_total_norm([p.grad for p, _ in units if p.grad is not None])


class Clipper(nn.Module):
    """A rule with what it clips and what it knows of the steps so far, which is in the checkpoint.

    memory: how many steps it has seen, and of AdaGC each tensor's mean norm, of ZClip the norm's
    mean and variance. `TypeError` if a class of a user's own does not take its settings.
    """

    memory: Tensor

    def __init__(self, clip: Clip, units: list[Unit]) -> None:
        super().__init__()
        self.clip, self.units = clip, units
        known = {AdaGClip: [torch.inf] * len(units), ZClip: [0.0, 0.0]}.get(type(clip), [])
        self.register_buffer("memory", torch.tensor([0.0, *known]))
        if isinstance(clip, OwnClip):
            self.own = imported(clip.gradient_clip_algorithm)(**clip.settings)
            if not callable(self.own):
                raise TypeError(f"'{clip.gradient_clip_algorithm}' makes what cannot be called")

    def forward(self, norm: Tensor) -> ClipReport:
        """Clip the gradients, whose `total_norm` this is, in place and report how much was clipped;
        absent gradients are left out, and only a user's own rule may wait for the device."""
        clip, present = self.clip, [(p, axis) for p, axis in self.units if p.grad is not None]
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
                return _agc(present, clip, norm)
            case AdaGClip():
                return _adagc(self.units, clip, norm, self.memory)
            case ZClip():
                return _zclip(present, clip, norm, self.memory)
            case OwnClip():
                self.own([p for p, _ in present])
                after = total_norm(present)
                return ClipReport(1, after < norm * (1 - 1e-6), after)
            case _:
                assert_never(clip)


def _agc(units: list[Unit], clip: AdaptiveClip, norm: Tensor) -> ClipReport:
    """Scale a unit's gradient down to max_ratio * max(||weight||, floor) where it is longer."""
    grad_norms = [_unit_norms(p.grad, axis) for p, axis in units if p.grad is not None]
    # All units of all parameters at once: a network has dozens of small tensors.
    weight_norm = torch.cat([_unit_norms(p.detach(), axis).flatten() for p, axis in units])
    grad_norm = torch.cat([norms.flatten() for norms in grad_norms])
    limit = clip.max_ratio * weight_norm.clamp_min(clip.min_weight_norm)
    too_long = grad_norm > limit
    # Only the units beyond their limit are touched: the others keep their very bits.
    factor = torch.where(too_long, limit / grad_norm.clamp_min(1e-30), torch.ones_like(limit))
    factors = factor.split([n.numel() for n in grad_norms])
    _scale(units, [f.view_as(n) for f, n in zip(factors, grad_norms, strict=True)])
    after = torch.linalg.vector_norm(torch.where(too_long, limit, grad_norm))
    # Untouched gradients keep the very number that they were measured with.
    norm_after = torch.where(too_long.any(), after, norm)
    return ClipReport(too_long.numel(), too_long.sum(), norm_after)


def _unit_norms(tensor: Tensor, axis: int | None) -> Tensor:
    """Return the 2-norm of each unit, with every other axis of length 1."""
    others = [d for d in range(tensor.ndim) if d != axis]
    return torch.linalg.vector_norm(tensor, dim=others, keepdim=True)


def _adagc(units: list[Unit], clip: AdaGClip, norm: Tensor, memory: Tensor) -> ClipReport:
    """Scale each tensor's gradient down to `max_growth` times the running mean of its norms; in the
    first steps all together to `warmup_max_norm`, while the least norm of each is noted."""
    zero = torch.zeros_like(norm)
    before = torch.stack([zero if p.grad is None else p.grad.norm() for p, _ in units])
    first, mean = memory[0] < clip.warmup_steps, memory[1:]
    together = before * (clip.warmup_max_norm / norm).clamp(max=1.0)
    after = torch.where(first, together, before.minimum(clip.max_growth * mean))
    learned = torch.where(first, after.minimum(mean), torch.lerp(after, mean, clip.decay))
    memory.copy_(torch.cat([memory[:1] + 1, learned]))
    too_long = after < before
    factors = torch.where(too_long, after / before, torch.ones_like(before))
    _scale(units, factors.unbind())
    norm_after = torch.where(too_long.any(), torch.linalg.vector_norm(after), norm)
    return ClipReport(len(units), too_long.sum(), norm_after)


def _zclip(units: list[Unit], clip: ZClip, norm: Tensor, memory: Tensor) -> ClipReport:
    """Scale all gradients down where their norm lies more than `max_score` standard deviations
    above its running mean: the further above, the closer to the mean."""
    steps, mean, variance = memory
    first, spread = steps < clip.warmup_steps, variance.sqrt()
    score = (norm - mean) / spread.clamp_min(1e-12)
    too_long = ~first & (score > clip.max_score)
    after = torch.where(too_long, mean + clip.max_score**2 / score * spread, norm)
    _scale(units, [torch.where(too_long, after / norm, torch.ones_like(norm))] * len(units))
    # Mean and variance of all norms so far at first (Welford), of the recent ones from then on.
    weight = torch.where(first, steps / (steps + 1), torch.full_like(norm, clip.decay))
    new_mean = torch.lerp(after, mean, weight)
    deviation = torch.where(first, (after - mean) * (after - new_mean), (after - new_mean) ** 2)
    memory.copy_(torch.stack([steps + 1, new_mean, torch.lerp(deviation, variance, weight)]))
    return ClipReport(1, too_long, after)


def _scale(units: list[Unit], factors: Sequence[Tensor]) -> None:
    """Multiply each tensor's gradient by its factor, or one per unit; exactly 1 keeps its bits."""
    pairs = [(p.grad, f) for (p, _), f in zip(units, factors, strict=True) if p.grad is not None]
    torch._foreach_mul_([grad for grad, _ in pairs], [factor for _, factor in pairs])
