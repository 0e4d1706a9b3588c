"""The one forward model: object patches and probe in, diffraction amplitudes out.

`simulate` makes data with it and `train` differentiates it in the loss, so they cannot disagree.

    patches_BCHW -(times probe_MHW)-> exit_BCMHW -(far field)-> wave_BCMHW
                 -(sum_M |.|^2)-> intensity_BCHW -(root)-> amplitude_BCHW

Letters: B batch, C patches of a group (channels; independent of each other here), M incoherent
probe modes, H rows, W columns. The zero frequency sits at [H // 2, W // 2]. Units: the exit
wave's; photons are (s A)^2 with the dataset's intensity scale s.
"""

from torch import Tensor
from torch.fft import fft2, fftshift, ifft2, ifftshift

INTENSITY_FLOOR = 1e-12
"""Added under the root: its gradient at a dark pixel stays finite. Stored amplitudes have a mean
near 0.1, so the floor of 1e-6 in amplitude is far below one photon."""


def exit_waves(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return patches times probe modes, (B, C, M, H, W), complex.

    The probe may be one for all, (M, H, W), or one for each patch, (B, C, M, H, W).

    Raises
    ------
    ValueError
        If the shapes are others, or differ in frame size.
    """
    if patches_BCHW.ndim != 4 or probe_MHW.ndim not in (3, 5):
        raise ValueError(
            f"expected patches (B, C, H, W) and probe (M, H, W), got {tuple(patches_BCHW.shape)} "
            f"and {tuple(probe_MHW.shape)}"
        )
    if patches_BCHW.shape[-2:] != probe_MHW.shape[-2:]:
        raise ValueError(
            f"patches are {tuple(patches_BCHW.shape[-2:])} px, the probe is "
            f"{tuple(probe_MHW.shape[-2:])} px; both must have the detector's size"
        )
    return patches_BCHW[:, :, None] * probe_MHW


def far_field(exit_HW: Tensor) -> Tensor:
    """Return the far field of exit waves (..., H, W): unitary, zero frequency in the middle."""
    # No ifftshift first: it would only add a phase ramp, which the intensity drops.
    return fftshift(fft2(exit_HW, norm="ortho"), dim=(-2, -1))


def far_field_adjoint(wave_HW: Tensor) -> Tensor:
    """Return the adjoint, and inverse, of `far_field`."""
    return ifft2(ifftshift(wave_HW, dim=(-2, -1)), norm="ortho")


def intensities(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return diffraction intensities, (B, C, H, W), real; each frame sums to its exit wave's
    sum |psi|^2 (Parseval). Modes add in intensity.

    References
    ----------
    Thibault and Menzel, Nature 494, 68 (2013), doi:10.1038/nature11806.
    """
    wave_BCMHW = fft2(exit_waves(patches_BCHW, probe_MHW), norm="ortho")
    squared_BCMHW = wave_BCMHW.real.square() + wave_BCMHW.imag.square()
    # As `far_field`; what is shifted here is real and one mode, a quarter of the bytes or less.
    return fftshift(squared_BCMHW.sum(dim=2), dim=(-2, -1))


def amplitudes(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return diffraction amplitudes sqrt(I + floor), (B, C, H, W), real, with finite gradient."""
    return (intensities(patches_BCHW, probe_MHW) + INTENSITY_FLOOR).sqrt()
