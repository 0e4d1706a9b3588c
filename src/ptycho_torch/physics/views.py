"""What a scan sees of an object: windows at whole pixels, probes moved by the fraction.

A window at the position p = whole + fraction is seen as the object's window at `whole` under the
probe moved by `fraction`: the exit wave is that of the true window moved as a whole, and a moved
wave has the same diffraction pattern. So no object, which is bright at its borders, is shifted.

Letters: B positions, M probe modes, H rows, W columns of a window, Y rows, X columns of the object.
Positions are the (row, column) of a window's upper left corner in the object, pixels, fractional.
"""

import torch
from torch import Tensor

from ptycho_torch.physics.shift import fourier_shift


def split_positions(positions_B2: Tensor) -> tuple[Tensor, Tensor]:
    """Return whole pixels, int64, and fractions in [-0.5, 0.5], float64; their sum is the input."""
    exact = positions_B2.to(torch.float64)
    whole = exact.round()
    return whole.to(torch.int64), exact - whole


def moved_probes(probe_MHW: Tensor, fraction_B2: Tensor) -> Tensor:
    """Return the probe moved to each position's fraction, (B, M, H, W)."""
    return fourier_shift(probe_MHW[None], fraction_B2[:, None])


def cut_windows(object_YX: Tensor, whole_B2: Tensor, side_px: int) -> Tensor:
    """Return the object's windows at whole positions, (B, side, side).

    Raises
    ------
    ValueError
        If a window reaches out of the object.
    """
    index = window_indices(whole_B2, side_px, (object_YX.shape[0], object_YX.shape[1]))
    return object_YX.reshape(-1)[index]


def add_windows(total_YX: Tensor, windows_BHW: Tensor, whole_B2: Tensor) -> None:
    """Add windows to an object in place; the adjoint of `cut_windows`."""
    shape = (total_YX.shape[0], total_YX.shape[1])
    index = window_indices(whole_B2, windows_BHW.shape[-1], shape)
    # On a view of the object: what is added must arrive there.
    total_YX.view(-1).index_add_(0, index.reshape(-1), windows_BHW.reshape(-1))


def window_indices(whole_B2: Tensor, side_px: int, shape: tuple[int, int]) -> Tensor:
    """Return the flat indices of each window's pixels in an object of `shape`, (B, side, side)."""
    low, high = whole_B2.amin(dim=0), whole_B2.amax(dim=0) + side_px
    if (low < 0).any() or high[0] > shape[0] or high[1] > shape[1]:
        raise ValueError(
            f"windows of {side_px} px reach from {tuple(low.tolist())} to {tuple(high.tolist())}, "
            f"the object is {shape} px"
        )
    offsets = torch.arange(side_px, device=whole_B2.device)
    rows = whole_B2[:, 0, None, None] + offsets[:, None]
    columns = whole_B2[:, 1, None, None] + offsets[None, :]
    return rows * shape[1] + columns
