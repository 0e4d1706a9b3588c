"""Fourier blocks at full resolution, then a convolutional refiner.

Letters: B batch, C patches of a group, H rows, W columns.
"""

import torch
from torch import Tensor, nn

from ptycho_torch.config.generator import GeneratorSettings, plan_levels
from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.networks.heads import INPUT_TRANSFORMS, complex_patches
from ptycho_torch.networks.unet import Lifter


class FNO(nn.Module):
    """Lifter, Fourier blocks at one resolution, refiner, 1x1 head.

    Parameters and errors as for `FourierUNet`; `levels` and `channel_cap` are refused.
    """

    def __init__(
        self,
        settings: GeneratorSettings,
        *,
        channels: int,
        patch_px: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        (level,) = plan_levels(settings, patch_px)
        width = level.channels
        self.transform = INPUT_TRANSFORMS[settings.input_transform]
        self.output_mode = settings.output_mode
        self.lift = Lifter(channels, width)
        self.blocks = nn.Sequential(
            *(
                FourierBlock(
                    width,
                    settings.modes,
                    size_px=(patch_px, patch_px),
                    two_sided=settings.spectral_rows == "two_sided",
                    generator=generator,
                )
                for _ in range(level.blocks)
            )
        )
        self.refine = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
        )
        self.head = nn.Conv2d(width, 2 * channels, 1)

    def forward(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return object patches (B, C, H, W), complex, for diffraction amplitudes."""
        x = self.blocks(self.lift(self.transform(amplitude_BCHW)))
        return complex_patches(self.head(self.refine(x)), self.output_mode)
