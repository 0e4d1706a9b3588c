"""Known probes: triangle (the study's), disk (a control), or from a file.

All are centred at ((N - 1) / 2, (N - 1) / 2), where turning an array by 180 degrees leaves
its centre, and are normalised once by `normalise`.
"""

from typing import assert_never

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.dataset import DiskProbe, FileProbe, Probe, TriangleProbe
from ptycho_torch.data.scan import check_array
from ptycho_torch.data.units import normalisation, normalise, radius_px
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
_BACKGROUND = 1e-9
# The disk's window: standard deviation N / (k pi^2), k = 0.7 (docs/reference/physics.md).
_DISK_K = 0.7


def make_probe(settings: Probe, patch_px: int) -> Complex:
    """Return the normalised probe, (H, W), or (M, H, W) for a file with several incoherent modes;
    `InputError` if a file's probe cannot be used, or has another size while `resize` is `refuse`.
    """
    match settings:
        case TriangleProbe():
            radius = settings.circumradius * patch_px
            amplitude = _soften(triangle_mask(patch_px, radius))
            phase = settings.edge_phase_rad * (radius_px(patch_px) / radius) ** 2
        case DiskProbe():
            mask = disk_mask(patch_px)
            amplitude = _soften(mask)
            phase = settings.edge_phase_rad * radius_px(patch_px) ** 2 * (np.pi / mask.sum())
        case FileProbe():
            probe = _of_file(settings, patch_px)
            amplitude, phase = np.abs(probe), np.angle(probe)
        case _:
            assert_never(settings)
    if settings.smoothing_sigma_px > 0:
        sigma = (0.0,) * (amplitude.ndim - 2) + (settings.smoothing_sigma_px,) * 2
        amplitude = scipy.ndimage.gaussian_filter(amplitude, sigma)
    return normalise(amplitude * np.exp(1j * phase))


def disk_mask(patch_px: int) -> Real:
    """Return 1 where the product of two Gaussian windows exceeds one half, (H, W)."""
    width = patch_px / (_DISK_K * np.pi**2)
    window = np.exp(-((np.arange(patch_px) - (patch_px - 1) / 2) ** 2) / (2 * width**2))
    return (np.outer(window, window) > 0.5).astype(float)


def triangle_mask(patch_px: int, radius: float) -> Real:
    """Return 1 inside an equilateral triangle with a corner towards row 0, (H, W)."""
    axis = np.arange(patch_px) - (patch_px - 1) / 2
    row, column = axis[:, None], axis[None, :]
    # Distances from the centroid along the normals of the three sides: each is at most r / 2.
    sides = [row + 0 * column] + [
        sign * np.cos(np.pi / 6) * column - np.sin(np.pi / 6) * row for sign in (1, -1)
    ]
    return (np.max(sides, axis=0) <= radius / 2).astype(float)


def _soften(mask: Real) -> Real:
    return scipy.ndimage.gaussian_filter(mask, 1.0) + _BACKGROUND


def _of_file(settings: FileProbe, patch_px: int) -> Complex:
    probe, fault = io.read_npz(settings.path, "probeGuess")["probeGuess"], None
    check_array(settings.path, "probeGuess", probe, "complex", ("H", "H"), ("M", "H", "H"))
    if not np.isfinite(probe).all():
        fault = "must hold finite numbers"
    elif (side := probe.shape[-1]) != patch_px and settings.resize == "refuse":
        fault = (
            f"is {side} px, the patches are {patch_px} px; set probe.resize to pad or interpolate"
        )
    elif side > patch_px and settings.resize != "interpolate":
        fault = f"of {side} px cannot be padded to {patch_px} px; set probe.resize to interpolate"
    else:
        probe = _resized(probe.astype(np.complex128), patch_px, settings.resize)
        if not 0 < normalisation(probe) < np.inf:
            fault = "is dark within a quarter of the frame round its centre; centre it"
    if fault is not None:
        raise InputError(f"{settings.path}: probeGuess {fault}")
    return probe


def _resized(probe: Complex, patch_px: int, how: str) -> Complex:
    side = probe.shape[-1]
    if side == patch_px:
        return probe
    if how == "interpolate":
        factor = (1,) * (probe.ndim - 2) + (patch_px / side,) * 2
        return np.asarray(scipy.ndimage.zoom(probe, factor, order=3))
    before = (patch_px - side) // 2
    widths = ((0, 0),) * (probe.ndim - 2) + ((before, patch_px - side - before),) * 2
    return np.pad(probe, widths)
