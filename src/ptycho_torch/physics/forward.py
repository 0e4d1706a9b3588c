"""The one forward model: object patches and probe in, diffraction amplitudes out.

`simulate` makes data with it and `train` differentiates it in the loss, so they cannot disagree.

    patches_BCHW -(times probe_MHW)-> exit_BCMHW -(far field)-> wave_BCMHW
                 -(sum_M |.|^2)-> intensity_BCHW -(root)-> amplitude_BCHW

Letters: B batch, C patches of a group (channels; independent of each other here), M incoherent
probe modes, H rows, W columns. The zero frequency sits at [H // 2, W // 2]. Units: the exit
wave's; photons are (s A)^2 with the dataset's intensity scale s.
"""

from torch import Tensor
from torch.fft import fft2, fftshift

INTENSITY_FLOOR = 1e-12
"""Added under the root: its gradient at a dark pixel stays finite. Stored amplitudes have a mean
near 0.1, so the floor of 1e-6 in amplitude is far below one photon."""


def intensities(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return diffraction intensities, (B, C, H, W), real; each frame sums to its exit wave's
    sum |psi|^2 (Parseval). Modes add in intensity.

    The probe may be one for all, (M, H, W), or one for each patch, (B, C, M, H, W); other shapes
    raise `ValueError`. Thibault and Menzel, Nature 494, 68 (2013), doi:10.1038/nature11806.
    """
    patches, probe = tuple(patches_BCHW.shape), tuple(probe_MHW.shape)
    if len(patches) != 4 or len(probe) not in (3, 5) or patches[-2:] != probe[-2:]:
        raise ValueError(
            f"expected patches (B, C, H, W) and a probe (M, H, W) of the same H and W, got "
            f"{patches} and {probe}"
        )
    # No ifftshift first: it would only add a phase ramp, which the intensity drops. And no shift
    # of the wave: intensities are real and of one mode, a quarter of the bytes or less.
    wave_BCMHW = fft2(patches_BCHW[:, :, None] * probe_MHW, norm="ortho")
    squared_BCMHW = wave_BCMHW.real.square() + wave_BCMHW.imag.square()
    return fftshift(squared_BCMHW.sum(dim=2), dim=(-2, -1))


def amplitudes(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return diffraction amplitudes sqrt(I + floor), (B, C, H, W), real, with finite gradient."""
    return (intensities(patches_BCHW, probe_MHW) + INTENSITY_FLOOR).sqrt()
