"""The study's networks written plainly: what the package's own are timed against and equal to.

Whole spectra (`rfft2`, `irfft2`), a complex einsum over all modes x modes weights, which small
frames use in part, contiguous memory, fp32, eager. Weights come from one of our networks, so that
both are the same function.

Letters: B batch, I input and O output channels, C patches of a group, H rows, W columns, X row and
Y column frequencies.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from ptycho_torch.config.generator import GeneratorSettings, plan_levels
from ptycho_torch.networks.generators import INPUT_TRANSFORMS, complex_patches
from ptycho_torch.networks.layers import SpectralConv


class PlainSpectral(nn.Module):
    """Multiply low frequencies by complex matrices, weights (I, O, X, Y) as the reference has."""

    def __init__(self, channels: int, modes: int, *, two_sided: bool) -> None:
        super().__init__()
        self.modes, self.two_sided = modes, two_sided
        shape = (channels, channels, 2 * modes if two_sided else modes, modes)
        self.weight = nn.Parameter(torch.zeros(shape, dtype=torch.complex64))

    def parts(self, rows: int) -> list[slice]:
        """Return which rows of a spectrum of so many, and of the weights, belong together."""
        if not self.two_sided:
            return [slice(0, min(self.modes, rows))]
        # A frame of fewer rows than 2 modes has each of its rows once.
        low, high = min(self.modes, (rows + 1) // 2), min(self.modes, rows // 2)
        return [slice(0, low), slice(-high, None)]

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Return (B, O, H, W)."""
        spectrum = torch.fft.rfft2(x_BIHW)
        columns = min(self.modes, spectrum.shape[-1])
        out = torch.zeros_like(spectrum)
        for rows in self.parts(spectrum.shape[-2]):
            out[:, :, rows, :columns] = torch.einsum(
                "bixy,ioxy->boxy",
                spectrum[:, :, rows, :columns],
                self.weight[:, :, rows, :columns],
            )
        return torch.fft.irfft2(out, s=x_BIHW.shape[-2:])

    def load(self, ours: SpectralConv) -> None:
        """Take the weights of our layer; modes that its frames do not have stay zero."""
        weight_IOXY = torch.complex(*ours.weight.unbind(3)).permute(2, 3, 0, 1)
        taken = 0
        for rows in self.parts(ours.to_rows.shape[1]):
            target = self.weight[:, :, rows, : ours.columns]
            target.copy_(weight_IOXY[:, :, taken : taken + target.shape[2]])
            taken += target.shape[2]


class PlainBlock(nn.Module):
    """y = x + GELU(spectral(x) + conv3x3(x)), the update normalised and scaled by the kind; of
    `ffno_hybrid` x + conv1x1(GELU(conv1x1(spectral(x)))). blocks: of the whole network."""

    def __init__(
        self, name: str, channels: int, modes: int, *, two_sided: bool, blocks: int
    ) -> None:
        super().__init__()
        self.spectral = PlainSpectral(channels, modes, two_sided=two_sided)
        self.feeds_forward = name == "ffno_hybrid"
        side = 1 if self.feeds_forward else 3
        self.local = nn.Conv2d(channels, channels, side, padding=side // 2)
        if self.feeds_forward:
            self.second = nn.Conv2d(channels, channels, 1)
        self.norm: nn.Module = nn.Identity()
        self.scale: nn.Parameter | float = 1 / blocks if name == "depthscale_hybrid" else 1.0
        if name in ("stable_hybrid", "layerscale_hybrid"):
            self.norm = nn.InstanceNorm2d(channels, affine=True)
        if name == "layerscale_hybrid":
            self.scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        if self.feeds_forward:
            return x + self.second(gelu(self.local(self.spectral(x))))
        update = self.norm(gelu(self.spectral(x) + self.local(x)))
        scale = self.scale[:, None, None] if isinstance(self.scale, Tensor) else self.scale
        return x + scale * update


class PlainLifter(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H, W)."""
        return self.second(gelu(self.first(x)))


class PlainDecoder(nn.Module):
    """Transposed convolution, concatenated skip, two 3x3 convolutions, one GELU between them."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse, fine, 2, stride=2)
        self.first = nn.Conv2d(2 * fine, fine, 3, padding=1)
        self.second = nn.Conv2d(fine, fine, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return a frame of twice the side."""
        x = torch.cat([self.up(x), skip], dim=1)
        return self.second(gelu(self.first(x)))


class PlainNetwork(nn.Module):
    """Any of the generators; its layers' names are ours, so all but the spectral ones load."""

    def __init__(self, settings: GeneratorSettings, *, channels: int, patch_px: int) -> None:
        super().__init__()
        levels = plan_levels(settings, patch_px)
        self.settings, width, modes = settings, levels[0].channels, settings.modes
        rows: dict = {"two_sided": settings.spectral_rows == "two_sided"}
        rows["blocks"] = settings.fno_blocks + (settings.name != "fno")
        stacks = [
            [PlainBlock(settings.name, at.channels, modes, **rows) for _ in range(at.blocks)]
            for at in levels
        ]
        self.lift = PlainLifter(channels, width)
        self.head = nn.Conv2d(width, 2 * channels, 1)
        if settings.name == "fno":
            self.blocks = nn.Sequential(*stacks[0])
            middle = nn.Conv2d(width, width, 1)
            first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
            self.refine = nn.Sequential(middle, first, nn.GELU(), second, nn.GELU())
            return
        self.levels = nn.ModuleList(nn.Sequential(*blocks) for blocks in stacks)
        pairs = [(fine.channels, coarse.channels) for fine, coarse in pairwise(levels)]
        self.down = nn.ModuleList(nn.Conv2d(*pair, 2, stride=2) for pair in pairs)
        self.bottleneck = PlainBlock(settings.name, levels[-1].channels, max(modes // 2, 1), **rows)
        self.up = nn.ModuleList(PlainDecoder(coarse, fine) for fine, coarse in reversed(pairs))

    def forward(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return object patches (B, C, H, W), complex, for diffraction amplitudes."""
        x = self.lift(INPUT_TRANSFORMS[self.settings.input_transform](amplitude_BCHW))
        x = self.refine(self.blocks(x)) if self.settings.name == "fno" else self._through_levels(x)
        return complex_patches(self.head(x), self.settings.output_mode)

    def _through_levels(self, x: Tensor) -> Tensor:
        skips = []
        for blocks, down in zip(self.levels[:-1], self.down, strict=True):
            skips.append(blocks(x))
            x = down(skips[-1])
        x = self.bottleneck(self.levels[-1](x))
        for decoder in self.up:
            x = decoder(x, skips.pop())
        return x


def plain_network(
    ours: nn.Module, settings: GeneratorSettings, *, channels: int, patch_px: int
) -> PlainNetwork:
    """Return the plain network with the weights of ours."""
    plain = PlainNetwork(settings, channels=channels, patch_px=patch_px)
    named = dict(ours.named_modules())
    with torch.no_grad():
        for name, module in plain.named_modules():
            if isinstance(module, PlainSpectral):
                layer = named[name]
                assert isinstance(layer, SpectralConv)
                module.load(layer)
        own = plain.state_dict()
        for name, weight in ours.state_dict().items():
            if not name.endswith("spectral.weight"):
                own[name].copy_(weight)
    return plain
