"""The spectral layer: a convolution given by its low-frequency block.

    x_BIHW -(rfft2)-> block_RKBI -(matrix per mode)-> block_RKBO -(zeros round it, irfft2)-> y_BOHW

Letters: B batch, I input and O output channels, H rows, W columns, R row and K column
frequencies kept.
"""

import torch
from torch import Tensor, nn


def kept_modes(modes: int, rows: int, columns: int, *, two_sided: bool) -> tuple[list[int], int]:
    """Return the row frequencies (indices of the FFT) and the number of column frequencies kept.

    A frequency that the frame does not have is not kept, so no weight is stored that the data
    never touch.
    """
    if not two_sided:
        return list(range(min(modes, rows))), min(modes, columns // 2 + 1)
    if 2 * modes >= rows:
        return list(range(rows)), min(modes, columns // 2 + 1)
    return [*range(modes), *range(rows - modes, rows)], min(modes, columns // 2 + 1)


class SpectralConv(nn.Module):
    """Multiply the lowest frequencies by learned complex matrices; drop the others.

    `one_sided` keeps row frequencies 0..m-1 and column frequencies 0..m-1 of the half spectrum,
    as the first execution of the study did: half of the low-frequency plane. `two_sided` also
    keeps the rows -m..-1.

    Parameters
    ----------
    in_channels, out_channels
        Channels I and O.
    modes
        m, frequencies along each axis.
    size_px
        (H, W) of the frames that the layer will see.
    two_sided
        Also keep the negative row frequencies.
    generator
        Random stream of the initial weights.

    Notes
    -----
    Weights are drawn with mean squared modulus 1 / I, so that the variance of a kept mode is
    preserved. They are stored as real numbers, (R, K, I, 2, O) with real and imaginary part
    along the fourth axis, so that a complex product is one real matrix product per mode.

    References
    ----------
    Li et al. (2021), Fourier neural operator, arXiv:2010.08895.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        modes: int,
        *,
        size_px: tuple[int, int],
        two_sided: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        rows, self.columns = kept_modes(modes, *size_px, two_sided=two_sided)
        self.size_px = size_px
        self.out_channels = out_channels
        # Complex weights of the reference, which stores modes that small frames do not have.
        self.full_parameters = in_channels * out_channels * modes**2 * (2 if two_sided else 1)
        self._low = sum(row < modes for row in rows)
        self._high = len(rows) - self._low
        shape = (len(rows), self.columns, in_channels, 2, out_channels)
        spread = (2 * in_channels) ** -0.5
        self.weight = nn.Parameter(torch.randn(shape, generator=generator) * spread)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Return (B, O, H, W), real."""
        if x_BIHW.shape[-2:] != self.size_px:
            raise ValueError(
                f"this spectral layer was built for frames of {self.size_px} px, got "
                f"{tuple(x_BIHW.shape[-2:])}"
            )
        spectrum = torch.fft.rfft2(x_BIHW)
        block = self._cut(spectrum)
        B, _, R, K = block.shape
        parts = torch.view_as_real(block).permute(2, 3, 4, 0, 1).reshape(R * K, 2 * B, -1)
        product = torch.bmm(parts, self.weight.flatten(0, 1).flatten(2))
        product = product.view(R, K, 2, B, 2, self.out_channels)
        real = product[:, :, 0, :, 0] - product[:, :, 1, :, 1]
        imaginary = product[:, :, 0, :, 1] + product[:, :, 1, :, 0]
        mixed = torch.complex(real, imaginary).permute(2, 3, 0, 1)
        full = mixed.new_zeros(B, self.out_channels, *spectrum.shape[-2:])
        full[:, :, : self._low, :K] = mixed[:, :, : self._low]
        if self._high:
            full[:, :, -self._high :, :K] = mixed[:, :, self._low :]
        return torch.fft.irfft2(full, s=self.size_px)

    def _cut(self, spectrum: Tensor) -> Tensor:
        low = spectrum[:, :, : self._low, : self.columns]
        if not self._high:
            return low
        return torch.cat([low, spectrum[:, :, -self._high :, : self.columns]], dim=2)

    def complex_weight(self) -> Tensor:
        """Return the weights as complex numbers, (R, K, I, O)."""
        return torch.complex(self.weight[:, :, :, 0], self.weight[:, :, :, 1])
