"""A 3x3 convolution by F(4x4, 3x3): tiles of 4x4 outputs, 36 products instead of 144.

    x_BHWI -(rows, columns)-> V_tMI -(times U_tOI, made of the kernel)-> M_tMO -> y_BHWO

The transforms are products with banded matrices over whole rows and columns, which hold padding,
overlap of tiles and the last, incomplete tile; their transposes are the backward pass, so nothing
is gathered or scattered by hand. fp32 errors are about four times those of a direct convolution.

Letters: B batch, I input and O output channels, H rows, W columns, t place in a tile (36 of them),
M tiles of all frames, P and Q tile rows and columns (place times number).

References
----------
Lavin and Gray (2016), Fast algorithms for convolutional neural networks, arXiv:1509.09308.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

TILE, PLACES = 4, 6
"""Outputs and inputs of a tile along an axis."""

_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
_ONES = PLACES + 1
"""The place (1, 1), which every output of a tile takes once: where a bias is added."""


@cache
@torch.inference_mode(False)
def matrices(length: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what takes an axis of this length to its tiles' places, (P, length), and back,
    (length, P)."""
    tiles = -(-length // TILE)
    exact = torch.empty(0, dtype=torch.float64, device=device)
    into = exact.new_zeros(PLACES, tiles, TILE * (tiles + 1) + 2)
    out = exact.new_zeros(TILE * tiles, PLACES, tiles)
    for tile in range(tiles):
        into[:, tile, TILE * tile : TILE * tile + PLACES] = exact.new_tensor(_INPUT)
        out[TILE * tile : TILE * (tile + 1), :, tile] = exact.new_tensor(_OUTPUT)
    # The first place of a frame is its padding.
    into = into[:, :, 1 : length + 1].flatten(0, 1)
    return into.to(dtype), out[:length].flatten(1).to(dtype)


@cache
@torch.inference_mode(False)
def kernel_matrix(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what takes the nine weights of a kernel to the 36 places, (36, 9)."""
    one = torch.tensor(_KERNEL, dtype=torch.float64, device=device)
    return torch.kron(one, one).to(dtype)


def _both_axes(x_BHWC: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ x @ columns' for every frame and channel."""
    # Products along rows are wide and run at a better rate: they get the larger of the frames.
    if len(rows) > rows.shape[1]:
        return _along_rows(_along_columns(x_BHWC, columns), rows)
    return _along_columns(_along_rows(x_BHWC, rows), columns)


def _along_rows(x_BHWC: Tensor, matrix: Tensor) -> Tensor:
    B, H, W, C = x_BHWC.shape
    return torch.bmm(matrix.expand(B, -1, -1), x_BHWC.reshape(B, H, W * C)).view(B, -1, W, C)


def _along_columns(x_BHWC: Tensor, matrix: Tensor) -> Tensor:
    B, H, W, C = x_BHWC.shape
    x = torch.bmm(matrix.expand(B * H, -1, -1), x_BHWC.reshape(B * H, W, C))
    return x.view(B, H, -1, C)


def _by_place(x_BPQC: Tensor) -> Tensor:
    B, P, Q, C = x_BPQC.shape
    x = x_BPQC.view(B, PLACES, P // PLACES, PLACES, Q // PLACES, C)
    return x.permute(1, 3, 0, 2, 4, 5).reshape(PLACES**2, -1, C)


def _by_frame(x_tMC: Tensor, frames: int, P: int, Q: int) -> Tensor:
    C = x_tMC.shape[-1]
    x = x_tMC.view(PLACES, PLACES, frames, P // PLACES, Q // PLACES, C)
    return x.permute(2, 0, 3, 1, 4, 5).reshape(frames, P, Q, C)


def _kernel_places(weight_OI33: Tensor) -> Tensor:
    """Return (t, O, I)."""
    O, I = weight_OI33.shape[:2]  # noqa: E741
    matrix = kernel_matrix(weight_OI33.dtype, weight_OI33.device)
    # Weights with the channels innermost are taken as they lie.
    nine_O9I = weight_OI33.permute(0, 2, 3, 1).reshape(O, 9, I)
    return torch.bmm(matrix.expand(O, -1, -1), nine_O9I).transpose(0, 1)


class WinogradConvolution(Function):
    """y_BOHW = convolution of x_BIHW by weight_OI33 with padding 1, plus bias_O."""

    @staticmethod
    def forward(ctx: Any, x_BIHW: Tensor, weight_OI33: Tensor, bias_O: Tensor) -> Tensor:
        """Return (B, O, H, W), channels innermost; keep the transformed input."""
        x = x_BIHW.permute(0, 2, 3, 1)
        (rows_in, rows_out), (columns_in, columns_out) = (
            matrices(length, x.dtype, x.device) for length in x.shape[1:3]
        )
        V = _by_place(_both_axes(x, rows_in, columns_in))
        M = torch.bmm(V, _kernel_places(weight_OI33).transpose(1, 2))
        M[_ONES] += bias_O
        y = _both_axes(_by_frame(M, len(x), len(rows_in), len(columns_in)), rows_out, columns_out)
        ctx.save_for_backward(V, weight_OI33)
        ctx.shape = x.shape
        return y.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BOHW: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input, weights and bias."""
        V, weight = ctx.saved_tensors
        B, H, W, I = ctx.shape  # noqa: E741
        O = len(weight)  # noqa: E741
        (rows_in, rows_out), (columns_in, columns_out) = (
            matrices(length, V.dtype, V.device) for length in (H, W)
        )
        grad = grad_BOHW.permute(0, 2, 3, 1)
        dM = _by_place(_both_axes(grad, rows_out.T, columns_out.T))
        dx = None
        if ctx.needs_input_grad[0]:
            dV = _by_frame(torch.bmm(dM, _kernel_places(weight)), B, len(rows_in), len(columns_in))
            dx = _both_axes(dV, rows_in.T, columns_in.T).permute(0, 3, 1, 2)
        dU_tOI = torch.bmm(dM.transpose(1, 2), V)
        nine = kernel_matrix(V.dtype, V.device).T @ dU_tOI.flatten(1)
        return dx, nine.view(3, 3, O, I).permute(2, 3, 0, 1), dM[_ONES].sum(0)
