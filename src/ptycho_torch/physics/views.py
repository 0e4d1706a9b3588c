"""What a scan sees of an object: windows at whole pixels, probes moved by the fraction.

A window at the position p = whole + fraction is seen as the object's window at `whole` under the
probe moved by `fraction`: the exit wave is that of the true window moved as a whole, and a moved
wave has the same diffraction pattern. So no object, which is bright at its borders, is shifted.

Letters: B positions, M probe modes, H rows, W columns of a window, Y rows, X columns of the object.
Positions are the (row, column) of a window's upper left corner in the object, pixels, fractional.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fft import fft2, fftfreq, ifft2


def split_positions(positions_B2: Tensor) -> tuple[Tensor, Tensor]:
    """Return whole pixels, int64, and fractions in [-0.5, 0.5], float64; their sum is the input."""
    exact = positions_B2.to(torch.float64)
    whole = exact.round()
    return whole.to(torch.int64), exact - whole


def fourier_shift(frames_HW: Tensor, shift_2: Tensor) -> Tensor:
    """Return frames whose content is moved by a shift of its own each: f(r - shift).

    Shifts are (row, column); a positive one moves the content towards higher rows and columns.
    Unitary, so that the adjoint and the inverse are the shift back. What leaves one side enters
    at the other: shift what is dark at its borders, a probe or what it illuminates, not an object.
    Frames are (..., H, W), complex; shifts (..., 2), pixels; their leading axes broadcast.
    """
    height, width = frames_HW.shape[-2:]
    real = frames_HW.real.dtype
    rows = fftfreq(height, dtype=real, device=frames_HW.device)[:, None]
    columns = fftfreq(width, dtype=real, device=frames_HW.device)[None, :]
    shift = shift_2.to(real)[..., None, None]
    turns = shift[..., 0, :, :] * rows + shift[..., 1, :, :] * columns
    ramp = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
    # Contiguous: the MKL of torch 2.6 refuses frames that are one frame expanded.
    return ifft2(fft2(frames_HW.contiguous()) * ramp)


def moved_probes(probe_MHW: Tensor, fraction_B2: Tensor) -> Tensor:
    """Return the probe moved to each position's fraction, (B, M, H, W)."""
    return fourier_shift(probe_MHW[None], fraction_B2[:, None])


def cut_windows(object_YX: Tensor, whole_B2: Tensor, side_px: int) -> Tensor:
    """Return the object's windows at whole positions, (B, side, side); `ValueError` if one reaches
    out of the object."""
    return object_YX.reshape(-1)[window_indices(whole_B2, side_px, object_YX.shape)]


def add_windows(total_YX: Tensor, windows_BHW: Tensor, whole_B2: Tensor) -> None:
    """Add windows to an object in place; the adjoint of `cut_windows`."""
    index = window_indices(whole_B2, windows_BHW.shape[-1], total_YX.shape)
    # On a view of the object: what is added must arrive there.
    total_YX.view(-1).index_add_(0, index.reshape(-1), windows_BHW.reshape(-1))


def window_indices(whole_B2: Tensor, side_px: int, shape: Sequence[int]) -> Tensor:
    """Return the flat indices of each window's pixels in an object of `shape`, (B, side, side)."""
    low, high = whole_B2.amin(dim=0), whole_B2.amax(dim=0) + side_px
    if (low < 0).any() or high[0] > shape[0] or high[1] > shape[1]:
        raise ValueError(
            f"windows of {side_px} px reach from {tuple(low.tolist())} to {tuple(high.tolist())}, "
            f"the object is {tuple(shape)} px"
        )
    offsets = torch.arange(side_px, device=whole_B2.device)
    rows = whole_B2[:, 0, None, None] + offsets[:, None]
    columns = whole_B2[:, 1, None, None] + offsets[None, :]
    return rows * shape[1] + columns
