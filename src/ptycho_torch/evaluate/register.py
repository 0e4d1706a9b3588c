"""Bring one reconstruction onto another: by what their data leave free, and no more.

Where the probe was refined, an object may be shifted, tilted in phase and scaled, with the probe
taking the opposite. Where both objects belong to one fixed probe, a constant phase is all.

Letters: H rows, W columns of the box in which two objects are compared.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import skimage
from numpy.typing import NDArray

from ptycho_torch.evaluate.align import phase_plane

Complex = NDArray[np.complexfloating]
Free = Literal["phase", "all"]
MARGIN_PX = 8
"""Border round the box that shifts may draw on; larger shifts are not looked for."""
# A tilt biases the shift that is found, and a shift the tilt: they are found in turns.
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Registered:
    """An object on another one: image_HW in the box, and what was taken away.

    shift_px: (row, column) by which it was moved; tilt: (row, column), radians per pixel; factor:
    what it was multiplied by at last.
    """

    image_HW: Complex
    shift_px: tuple[float, float]
    tilt: tuple[float, float]
    factor: complex


def register(reference_HW: Complex, wide_HW: Complex, *, free: Free) -> Registered:
    """Return an object as near to the reference as what is free can bring it.

    Parameters
    ----------
    reference_HW
        In the box.
    wide_HW
        With `MARGIN_PX` more on each side.
    free
        `phase`: a constant phase; `all`: shift, tilt and one complex factor.

    Raises
    ------
    ValueError
        If the sizes do not belong together.
    """
    margin = 2 * MARGIN_PX
    expected = tuple(side + margin for side in reference_HW.shape)
    if wide_HW.shape != expected:
        raise ValueError(f"the wide image is {wide_HW.shape} px, expected {expected}")
    if free == "phase":
        inner = _inner(wide_HW)
        inner_product = np.vdot(inner, reference_HW)
        size = abs(inner_product)
        factor = complex(inner_product / size) if size > 0 else 1.0 + 0j
        return Registered(inner * factor, (0.0, 0.0), (0.0, 0.0), factor)
    shift = np.zeros(2)
    for _ in range(_ROUNDS):
        inner = _inner(_moved(wide_HW, shift))
        flat = inner * np.exp(-1j * phase_plane(reference_HW, inner))
        step, _, _ = skimage.registration.phase_cross_correlation(
            _windowed(reference_HW), _windowed(flat), upsample_factor=100, normalization=None
        )
        shift = np.clip(shift + np.asarray(step), -MARGIN_PX, MARGIN_PX)
    inner = _inner(_moved(wide_HW, shift))
    plane = phase_plane(reference_HW, inner)
    flat = inner * np.exp(-1j * plane)
    power = float(np.vdot(flat, flat).real)
    factor = complex(np.vdot(flat, reference_HW) / power) if power > 0 else 1.0 + 0j
    tilt = tuple(float(np.diff(plane, axis=axis).mean()) for axis in (0, 1))
    return Registered(factor * flat, (float(shift[0]), float(shift[1])), (tilt[0], tilt[1]), factor)


def _inner(wide_HW: Complex) -> Complex:
    return wide_HW[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _moved(wide_HW: Complex, shift: NDArray[np.float64]) -> Complex:
    """Return an image moved by fractions of a pixel; what wraps round stays in the margin."""
    if not shift.any():
        return wide_HW
    rows, columns = (np.fft.fftfreq(n) for n in wide_HW.shape)
    turns = shift[0] * rows[:, None] + shift[1] * columns[None, :]
    moved: Complex = np.fft.ifft2(np.fft.fft2(wide_HW) * np.exp(-2j * np.pi * turns))
    return moved


def _windowed(image_HW: Complex) -> Complex:
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image_HW.shape))
    mean = (window * image_HW).sum() / window.sum()
    windowed: Complex = window * (image_HW - mean)
    return windowed
