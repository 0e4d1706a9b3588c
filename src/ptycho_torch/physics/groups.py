"""Patches of a group merged into one consistent region, from which each frame sees its window.

Each frame's exit wave, probe times patch, is moved to where the frame lies, and the region is the
least-squares object of these waves: for whole pixels the mean of the patches weighted by the
probe's intensity. So patches that overlap must agree, in amplitude and in phase.

Letters: B groups, C frames of a group, M probe modes, H rows, W columns of a frame (H = W), Y rows,
X columns of the region. Positions are the (row, column) of a frame's upper left corner, pixels: a
whole part and a fraction, as `physics.views.split_positions` gives them.
"""

import torch
from torch import Tensor

from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.physics.views import add_windows, cut_windows, fourier_shift, moved_probes

DARK = 1e-6
"""Added to the summed weights, as a fraction of the probe's largest intensity: what hardly any
light reaches tends to 0 instead of dividing noise by nothing."""


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
    patches_BCHW: Tensor, probe_MHW: Tensor, whole_BC2: Tensor, fraction_BC2: Tensor | None
) -> Tensor:
    """Return the diffraction amplitudes of merged groups, (B, C, H, W), real, differentiable."""
    windows = merged_patches(patches_BCHW, probe_MHW, whole_BC2, fraction_BC2)
    if fraction_BC2 is None:
        return amplitudes(windows, probe_MHW)
    moved_NMHW = moved_probes(probe_MHW, fraction_BC2.flatten(0, 1))
    return amplitudes(windows, moved_NMHW.unflatten(0, whole_BC2.shape[:2]))
