"""The Fourier transform of which few frequencies are kept, as real matrix products.

    x_BHWC -(rows: 2R x H)-> (B, R, 2, W, C) -(columns: 2K x 2W)-> block_BR2KC
    block_BR2KC -(columns: 2W x 2K)-> (B, R, 2, W, C) -(rows: H x 2R)-> y_BHWC

Real and imaginary part lie side by side, so that a complex product is one real product. The layout
of frames with their channels innermost stays as it is, and what is dropped is never computed.

Letters: B batch, C channels, H rows, W columns, R row and K column frequencies kept, 2 real and
imaginary part.
"""

import math

import torch
from torch import Tensor

Matrices = tuple[Tensor, Tensor, Tensor, Tensor]

MOST_PER_PIXEL = 20.0
"""Multiplications of the products per pixel and halving of the frame, up to which they are faster
than the FFT."""


def pays(rows: int, columns: int, size_px: tuple[int, int]) -> bool:
    """Return whether the products beat the FFT for R rows and K columns of frequencies."""
    H, W = size_px
    multiplications = 2 * rows * H * W + 4 * columns * W * rows
    return multiplications <= MOST_PER_PIXEL * H * W * max(math.log2(H * W), 1)


def matrices(rows: list[int], columns: int, size_px: tuple[int, int]) -> Matrices:
    """Return (2R, H) and (2K, 2W) of the transform, (2W, 2K) and (H, 2R) of its inverse, float64.

    Parameters
    ----------
    rows
        Row frequencies kept, as indices of the FFT.
    columns
        K, column frequencies kept: 0..K-1.
    size_px
        (H, W).
    """
    H, W = size_px
    cos_RH, sin_RH = _waves(torch.tensor(rows), H)
    cos_KW, sin_KW = _waves(torch.arange(columns), W)
    to_rows = torch.stack([cos_RH, -sin_RH], dim=1).flatten(0, 1)
    to_columns = _complex_product(cos_KW, -sin_KW)
    # A real frame has every frequency twice, but for the first column and, of an even number, the
    # last.
    times = torch.full((columns, 1), 2.0, dtype=torch.float64)
    times[0] = 1
    if columns == W // 2 + 1 and W % 2 == 0:
        times[-1] = 1
    from_columns = _complex_product((times * cos_KW).T, (times * sin_KW).T)
    from_rows = to_rows.T / (H * W)
    return to_rows, to_columns, from_columns.contiguous(), from_rows.contiguous()


def _waves(frequencies: Tensor, length: int) -> tuple[Tensor, Tensor]:
    # Whole turns are dropped while they are integers: exact at any size.
    parts = torch.outer(frequencies, torch.arange(length)) % length
    angle = parts.double() * (2 * torch.pi / length)
    return angle.cos(), angle.sin()


def _complex_product(real: Tensor, imaginary: Tensor) -> Tensor:
    """Return the real matrix that multiplies (real part, imaginary part) by this complex one."""
    upper = torch.cat([real, -imaginary], dim=1)
    return torch.cat([upper, torch.cat([imaginary, real], dim=1)])


def transform(x_BHWC: Tensor, used: Matrices) -> Tensor:
    """Return the kept frequencies, (B, R, 2, K, C)."""
    to_rows, to_columns, _, _ = used
    B, H, W, C = x_BHWC.shape
    R, K = len(to_rows) // 2, len(to_columns) // 2
    x = torch.bmm(to_rows.expand(B, -1, -1), x_BHWC.reshape(B, H, W * C))
    x = torch.bmm(to_columns.expand(B * R, -1, -1), x.view(B * R, 2 * W, C))
    return x.view(B, R, 2, K, C)


def inverse(block_BR2KC: Tensor, used: Matrices) -> Tensor:
    """Return the real frames (B, H, W, C) that have these frequencies and no other."""
    _, _, from_columns, from_rows = used
    B, R, _, K, C = block_BR2KC.shape
    H, W = len(from_rows), len(from_columns) // 2
    x = block_BR2KC.reshape(B * R, 2 * K, C)
    x = torch.bmm(from_columns.expand(B * R, -1, -1), x)
    x = torch.bmm(from_rows.expand(B, -1, -1), x.view(B, 2 * R, W * C))
    return x.view(B, H, W, C)
