"""The generators, a U-shaped one and one at full resolution, and gradient checkpointing.

Letters: B batch, C patches of a group, H rows, W columns.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, instance_norm, softplus
from torch.utils.checkpoint import checkpoint

from ptycho_torch.config.generator import GeneratorSettings, Level, plan_levels
from ptycho_torch.networks.layers import DepthScaledFourierBlock, FourierBlock

INPUT_TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "sqrt": lambda x: x.clamp_min(0).sqrt(),
    "log1p": lambda x: x.clamp_min(0).log1p(),
    "instance_norm": instance_norm,
}

MakeBlock = Callable[[Level, int], nn.Module]
"""Makes a Fourier block of a level with so many modes."""


def complex_patches(raw_BDHW: Tensor, output_mode: str) -> Tensor:
    """Return (B, C, H, W), complex, from D = 2C real channels: all first parts, then all second;
    `real_imag` as they are, `amplitude_phase` by softplus and pi * tanh."""
    first, second = raw_BDHW.float().chunk(2, dim=1)
    if output_mode == "real_imag":
        return torch.complex(first, second)
    return torch.polar(softplus(first), torch.pi * second.tanh())


class Lifter(nn.Module):
    """Two 3x3 convolutions from the input's channels to the network's width."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, width, H, W)."""
        lifted: Tensor = self.second(gelu(self.first(x_BCHW)))
        return lifted


class Decoder(nn.Module):
    """Double the resolution, concatenate the skip, and refine by two 3x3 convolutions with one
    activation between them: what a stage hands on may be negative."""

    def __init__(self, coarse_channels: int, fine_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse_channels, fine_channels, 2, stride=2)
        self.first = nn.Conv2d(2 * fine_channels, fine_channels, 3, padding=1)
        self.second = nn.Conv2d(fine_channels, fine_channels, 3, padding=1)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Return (B, fine_channels, 2H, 2W) for a coarse (B, coarse_channels, H, W)."""
        x = torch.cat([self.up(coarse), skip], dim=1)
        refined: Tensor = self.second(gelu(self.first(x)))
        return refined


class Generator(nn.Module):
    """What the networks share: input transform, lifter, a subclass's own body, 1x1 head.

    block: the Fourier block's class; channels: C; patch_px: H = W, pixels; generator: random
    stream of the initial spectral weights. `ValueError` if the settings are geometrically
    impossible; nothing is built then.
    """

    def __init__(
        self,
        settings: GeneratorSettings,
        block: Callable[..., nn.Module],
        *,
        channels: int,
        patch_px: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        levels = plan_levels(settings, patch_px)
        rows = {"two_sided": settings.spectral_rows == "two_sided"}

        def fourier(at: Level, modes: int) -> nn.Module:
            size_px = (at.side_px, at.side_px)
            return block(at.channels, modes, size_px=size_px, generator=generator, **rows)

        self.transform = INPUT_TRANSFORMS[settings.input_transform]
        self.output_mode = settings.output_mode
        self.lift = Lifter(channels, levels[0].channels)
        self._build(levels, settings.modes, fourier)
        self.head = nn.Conv2d(levels[0].channels, 2 * channels, 1)
        blocks = [m for m in self.modules() if isinstance(m, DepthScaledFourierBlock)]
        for made in blocks:
            made.network_blocks = len(blocks)

    def _build(self, levels: list[Level], modes: int, fourier: MakeBlock) -> None:
        """Make the layers between lifter and head."""
        raise NotImplementedError

    def _body(self, x_BCHW: Tensor) -> Tensor:
        """Return what the head sees, (B, width, H, W), for what the lifter gives."""
        raise NotImplementedError

    def forward(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return object patches (B, C, H, W), complex, for diffraction amplitudes."""
        raw = self.head(self._body(self.lift(self.transform(amplitude_BCHW))))
        return complex_patches(raw, self.output_mode)


class FourierUNet(Generator):
    """Fourier blocks with 2x2 stride-2 downsampling, bottleneck, decoder with skips.

    The bottleneck is one more Fourier block at the deepest level, with half the modes. With
    `hybrid` blocks, 4 levels, width 32, 12 modes and C = 1 this is the network of the study's
    first execution (17,202,402 weights, with those that small frames never touch).
    """

    def _build(self, levels: list[Level], modes: int, fourier: MakeBlock) -> None:
        pairs = list(pairwise(levels))
        self.levels = nn.ModuleList(
            nn.Sequential(*(fourier(at, modes) for _ in range(at.blocks))) for at in levels
        )
        self.down = nn.ModuleList(
            nn.Conv2d(fine.channels, coarse.channels, 2, stride=2) for fine, coarse in pairs
        )
        self.bottleneck = fourier(levels[-1], max(modes // 2, 1))
        self.up = nn.ModuleList(
            Decoder(coarse.channels, fine.channels) for fine, coarse in reversed(pairs)
        )

    def _body(self, x: Tensor) -> Tensor:
        skips = []
        for blocks, down in zip(self.levels[:-1], self.down, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(self.levels[-1](x))
        for decoder in self.up:
            x = decoder(x, skips.pop())
        return x


class FNO(Generator):
    """Fourier blocks at one resolution, a 1x1 convolution and a refiner."""

    def _build(self, levels: list[Level], modes: int, fourier: MakeBlock) -> None:
        (level,) = levels
        width = level.channels
        self.blocks = nn.Sequential(*(fourier(level, modes) for _ in range(level.blocks)))
        self.refine = nn.Sequential(
            nn.Conv2d(width, width, 1),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
        )

    def _body(self, x: Tensor) -> Tensor:
        refined: Tensor = self.refine(self.blocks(x))
        return refined


def recompute_parts(network: nn.Module) -> nn.Module:
    """Let a generator's parts compute again in the backward pass what they need for it.

    Parts are the lifter, each Fourier block, each decoder and the refiner: each keeps its input
    only, and gives the same gradients, bit for bit on a CPU. The network itself is changed and
    returned. A hook on a layer within a part is called twice a step.
    Chen et al. (2016), Training deep nets with sublinear memory cost, arXiv:1604.06174.
    """
    for module in network.modules():
        part = module.refine if isinstance(module, FNO) else module
        if isinstance(module, (FourierBlock, Decoder, Lifter, FNO)):
            # A partial, not a closure: a copy of the network then has parts of its own.
            part.forward = partial(_recomputed, part)
    return network


def _recomputed(part: nn.Module, *inputs: Tensor) -> Any:
    plain = partial(type(part).forward, part)
    # No part draws random numbers, so there is no state of a generator to be restored.
    return checkpoint(plain, *inputs, use_reentrant=False, preserve_rng_state=False)
