"""Shifts by fractions of a pixel, exact for periodic band-limited frames.

Letters: ... any leading axes, H rows, W columns. Shifts are (row, column) in pixels; a positive
one moves the content towards higher rows and columns.
"""

import torch
from torch import Tensor
from torch.fft import fft2, fftfreq, ifft2


def fourier_shift(frames_HW: Tensor, shift_2: Tensor) -> Tensor:
    """Return frames whose content is moved by a shift of its own each: f(r - shift).

    Unitary, so that the adjoint and the inverse are the shift back. What leaves one side enters
    at the other: shift what is dark at its borders, a probe or what it illuminates, not an object.

    Parameters
    ----------
    frames_HW
        (..., H, W), complex.
    shift_2
        (..., 2), pixels, real; leading axes that broadcast with those of the frames.

    Raises
    ------
    ValueError
        If the frames are not complex, or the shift has no last axis of two.
    """
    if not frames_HW.is_complex():
        raise ValueError(f"expected complex frames, got {frames_HW.dtype}")
    if shift_2.shape[-1] != 2:
        raise ValueError(f"expected shifts (..., 2), got {tuple(shift_2.shape)}")
    height, width = frames_HW.shape[-2:]
    real = frames_HW.real.dtype
    rows = fftfreq(height, dtype=real, device=frames_HW.device)[:, None]
    columns = fftfreq(width, dtype=real, device=frames_HW.device)[None, :]
    shift = shift_2.to(real)[..., None, None]
    turns = shift[..., 0, :, :] * rows + shift[..., 1, :, :] * columns
    ramp = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
    # Contiguous: the MKL of torch 2.6 refuses frames that are one frame expanded.
    return ifft2(fft2(frames_HW.contiguous()) * ramp)
