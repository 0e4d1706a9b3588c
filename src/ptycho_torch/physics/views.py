"""What a scan sees of an object: windows at whole pixels, probes moved by the fraction; and a group
of patches merged into one consistent region, from which each frame sees its window.

A window at the position p = whole + fraction is seen as the object's window at `whole` under the
probe moved by `fraction`: the exit wave is that of the true window moved as a whole, and a moved
wave has the same diffraction pattern. So no object, which is bright at its borders, is shifted.

The region of a group is the least-squares object of its frames' exit waves, probe times patch, each
moved to where its frame lies: for whole pixels the mean of the patches weighted by the probe's
intensity. So patches that overlap must agree, in amplitude and in phase.

Letters: B positions, or groups of C frames, M probe modes, H rows, W columns of a window (H = W), Y
rows, X columns of the object or region. Positions are the (row, column) of a window's upper left
corner in it, pixels: fractional, or a whole part and a fraction as `split_positions` gives them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fft import fft2, fftfreq, ifft2

from ptycho_torch.physics.forward import amplitudes

DARK = 1e-6
"""Added to the summed weights, as a fraction of the probe's largest intensity: what hardly any
light reaches tends to 0 instead of dividing noise by nothing."""


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
    """Return windows of an object, (B, side, side); `ValueError` if one reaches out of it."""
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


def placed_waves(
    patches_BHW: Tensor, probe_MHW: Tensor, fraction_B2: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return each patch's share in the region at its whole position: wave (B, H, W), complex, and
    weight (B, H, W), real; the region is the sum of waves over the sum of weights.

    A patch at a fractional position shows the object from that very position on; fraction_B2 None:
    all lie on whole pixels, and nothing is shifted.
    """
    if fraction_B2 is None:
        weight_HW = probe_MHW.abs().square().sum(dim=0)
        return weight_HW * patches_BHW, weight_HW.expand_as(patches_BHW)
    moved_BMHW = moved_probes(probe_MHW, fraction_B2)
    waves_BMHW = fourier_shift(patches_BHW[:, None] * probe_MHW, fraction_B2[:, None])
    return (moved_BMHW.conj() * waves_BMHW).sum(dim=1), moved_BMHW.abs().square().sum(dim=1)


def divide(waves: Tensor, weights: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return summed waves over summed weights; 0 where it is dark."""
    brightest = probe_MHW.abs().square().sum(dim=0).max()
    return waves / (weights + DARK * brightest)


def merged_patches(
    patches_BCHW: Tensor, probe_MHW: Tensor, whole_BC2: Tensor, fraction_BC2: Tensor | None
) -> Tensor:
    """Return the windows of the merged regions, (B, C, H, W): what each frame sees at its whole
    position, under the probe moved by the fraction."""
    groups, channels, side_px = patches_BCHW.shape[:3]
    local_BC2 = whole_BC2 - whole_BC2.amin(dim=1, keepdim=True)
    rows, columns = (int(reach) + side_px for reach in local_BC2.amax(dim=(0, 1)))
    # One tall canvas for the whole batch, a group below the other, each as large as the widest.
    first_row_B1 = rows * torch.arange(groups, device=local_BC2.device)[:, None]
    corners_N2 = torch.stack([local_BC2[..., 0] + first_row_B1, local_BC2[..., 1]], dim=-1)
    corners_N2 = corners_N2.flatten(0, 1)
    fraction_N2 = None if fraction_BC2 is None else fraction_BC2.flatten(0, 1)
    waves, weights = placed_waves(patches_BCHW.flatten(0, 1), probe_MHW, fraction_N2)
    total = waves.new_zeros(groups * rows, columns)
    light = weights.new_zeros(total.shape)
    add_windows(total, waves, corners_N2)
    add_windows(light, weights, corners_N2)
    windows = cut_windows(divide(total, light, probe_MHW), corners_N2, side_px)
    return windows.unflatten(0, (groups, channels))


def group_amplitudes(
    patches_BCHW: Tensor, probe_MHW: Tensor, whole_BC2: Tensor | None, fraction_BC2: Tensor | None
) -> Tensor:
    """Return the diffraction amplitudes of merged groups, (B, C, H, W), real, differentiable;
    whole_BC2 None: nothing is merged, each patch explains its frame alone."""
    if whole_BC2 is None:
        return amplitudes(patches_BCHW, probe_MHW)
    windows = merged_patches(patches_BCHW, probe_MHW, whole_BC2, fraction_BC2)
    if fraction_BC2 is None:
        return amplitudes(windows, probe_MHW)
    moved_NMHW = moved_probes(probe_MHW, fraction_BC2.flatten(0, 1))
    return amplitudes(windows, moved_NMHW.unflatten(0, whole_BC2.shape[:2]))
