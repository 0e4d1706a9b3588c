"""Remove what the data leave free before scoring: a factor, a phase plane, a shift.

Letters: H rows, W columns of one image. Phases are radians.
"""

from typing import Literal

import numpy as np
import scipy
import skimage
from numpy.typing import NDArray

from ptycho_torch.evaluate.scores import windowed

Complex = NDArray[np.complexfloating]
Real = NDArray[np.float64]
Free = Literal["phase", "all"]

MARGIN_PX = 8
"""Border round an image that a shift may draw on; larger shifts are not looked for."""


def amplitude_factor(truth_HW: Real, pred_HW: Real) -> float:
    """Return mean(truth) / mean(prediction); 1 for a prediction that is zero everywhere."""
    mean = float(pred_HW.mean())
    return float(truth_HW.mean()) / mean if mean != 0 else 1.0


def phase_plane(truth_HW: Complex, pred_HW: Complex) -> Real:
    """Return the plane, zero at the image's centre, that fits the phase difference best, weighted
    by amplitudes; slopes up to half a turn per pixel are found."""
    difference = np.conj(truth_HW) * pred_HW
    row, column = (np.arange(n) - (n - 1) / 2 for n in difference.shape)
    rows, columns = np.meshgrid(row, column, indexing="ij")
    peak = np.unravel_index(np.abs(np.fft.fft2(difference)).argmax(), difference.shape)
    found = [np.fft.fftfreq(n)[k] for n, k in zip(difference.shape, peak, strict=True)]
    slopes = 2 * np.pi * np.array(found)
    weight = np.sqrt(np.abs(difference)).ravel()
    design = np.stack([rows.ravel(), columns.ravel(), np.ones(rows.size)], axis=1)
    # Found by its strongest frequency, then refined on the wrapped remainder.
    for _ in range(3):
        rest = difference * np.exp(-1j * (slopes[0] * rows + slopes[1] * columns))
        rest = np.angle(rest * np.exp(-1j * np.angle(rest.sum())))
        fitted = np.linalg.lstsq(design * weight[:, None], rest.ravel() * weight, rcond=None)[0]
        slopes = slopes + fitted[:2]
    return np.asarray(slopes[0] * rows + slopes[1] * columns)


def aligned_phases(
    truth_HW: Complex, pred_HW: Complex, *, remove_plane: bool = False
) -> tuple[Real, Real]:
    """Return the phases of truth and prediction, the prediction's without its free offset.

    Both are on the branch within pi of the truth's mean direction, so that the cut lies where the
    truth has the fewest pixels; nothing is unwrapped. remove_plane: also remove `phase_plane`.
    """
    if remove_plane:
        pred_HW = pred_HW * np.exp(-1j * phase_plane(truth_HW, pred_HW))
    middle = float(np.angle(np.exp(1j * np.angle(truth_HW)).sum()))
    offset = float(np.angle(np.vdot(truth_HW, pred_HW)))
    truth_phase = middle + np.angle(truth_HW * np.exp(-1j * middle))
    return truth_phase, middle + np.angle(pred_HW * np.exp(-1j * (offset + middle)))


def least_squares_factor(truth_HW: Complex, pred_HW: Complex) -> complex:
    """Return the complex factor that brings a prediction nearest to the truth; 0 if it is zero."""
    power = float(np.vdot(pred_HW, pred_HW).real)
    return complex(np.vdot(pred_HW, truth_HW) / power) if power > 0 else 0j


def complex_error(truth_HW: Complex, pred_HW: Complex) -> float:
    """Return min over a of ||truth - a pred|| / ||truth||, a complex; 1 for a zero prediction."""
    rest = truth_HW - least_squares_factor(truth_HW, pred_HW) * pred_HW
    return float(np.linalg.norm(rest) / np.linalg.norm(truth_HW))


def correlation(first_HW: Complex, second_HW: Complex) -> float | None:
    """Return |<a, b>| / (|a| |b|); None if either is zero or not finite."""
    size = float(np.linalg.norm(first_HW) * np.linalg.norm(second_HW))
    return float(abs(np.vdot(first_HW, second_HW)) / size) if 0 < size < np.inf else None


def register(
    reference_HW: Complex, wide_HW: Complex, *, free: Free
) -> tuple[Complex, tuple[float, float]]:
    """Return an object as near to the reference as what is free can bring it, and by which
    (row, column) it was moved, pixels.

    `all`: where the probe was refined, an object may be shifted, tilted in phase and scaled, with
    the probe taking the opposite; `phase`: under one fixed probe, a constant phase is all. wide_HW:
    with `MARGIN_PX` more on each side.
    """
    shift = np.zeros(2)
    if free == "phase":
        inner = _moved(wide_HW, shift)
        return inner * np.exp(1j * np.angle(np.vdot(inner, reference_HW))), (0.0, 0.0)

    def flattened() -> Complex:
        inner = _moved(wide_HW, shift)
        return inner * np.exp(-1j * phase_plane(reference_HW, inner))

    # A tilt biases the shift that is found, and a shift the tilt: they are found in turns.
    for _ in range(4):
        step, _, _ = skimage.registration.phase_cross_correlation(
            windowed(reference_HW), windowed(flattened()), upsample_factor=100, normalization=None
        )
        shift = np.clip(shift + np.asarray(step), -MARGIN_PX, MARGIN_PX)
    flat = flattened()
    factor = least_squares_factor(reference_HW, flat) or 1.0 + 0j
    return factor * flat, (float(shift[0]), float(shift[1]))


def _moved(wide_HW: Complex, shift: NDArray[np.float64]) -> Complex:
    # What wraps round is cut.
    if shift.any():
        spectrum = np.fft.fft2(wide_HW).astype(np.complex128)
        wide_HW = np.fft.ifft2(scipy.ndimage.fourier_shift(spectrum, shift))
    return wide_HW[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
