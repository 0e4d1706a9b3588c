"""Remove what the data cannot fix before scoring: a factor, a phase offset, a phase plane.

Letters: H rows, W columns of one stitched image. Phases are radians.
"""

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating]
Real = NDArray[np.float64]

# The plane is found by its strongest frequency, then refined on the wrapped remainder.
_PLANE_ROUNDS = 3


def amplitude_factor(truth_HW: Real, pred_HW: Real) -> float:
    """Return mean(truth) / mean(prediction); 1 for a prediction that is zero everywhere; NaN if
    one of them is not finite."""
    mean = float(pred_HW.mean())
    if not np.isfinite(mean):
        return float("nan")
    return float(truth_HW.mean()) / mean if mean != 0 else 1.0


def phase_offset(truth_HW: Complex, pred_HW: Complex) -> float:
    """Return the phase by which `pred_HW` leads: that of its least-squares factor."""
    return float(np.angle(np.vdot(truth_HW, pred_HW)))


def phase_plane(truth_HW: Complex, pred_HW: Complex) -> Real:
    """Return the plane, zero at the image's centre, that fits the phase difference best.

    Pixels count by their amplitudes. Slopes up to half a turn per pixel are found.
    """
    difference = np.conj(truth_HW) * pred_HW
    height, width = difference.shape
    row = (np.arange(height) - (height - 1) / 2)[:, None]
    column = (np.arange(width) - (width - 1) / 2)[None, :]
    peak = np.unravel_index(np.abs(np.fft.fft2(difference)).argmax(), difference.shape)
    slopes = (
        2
        * np.pi
        * np.array([np.fft.fftfreq(n)[k] for n, k in zip((height, width), peak, strict=True)])
    )
    weight = np.sqrt(np.abs(difference)).ravel()
    design = np.stack(
        [
            np.broadcast_to(axis, difference.shape).ravel()
            for axis in (row, column, np.ones((1, 1)))
        ],
        axis=1,
    )
    for _ in range(_PLANE_ROUNDS):
        rest = difference * np.exp(-1j * (slopes[0] * row + slopes[1] * column))
        rest = np.angle(rest * np.exp(-1j * np.angle(rest.sum())))
        fitted = np.linalg.lstsq(design * weight[:, None], rest.ravel() * weight, rcond=None)[0]
        slopes = slopes + fitted[:2]
    plane: Real = slopes[0] * row + slopes[1] * column
    return plane


def aligned_phases(
    truth_HW: Complex, pred_HW: Complex, *, remove_plane: bool = False
) -> tuple[Real, Real]:
    """Return the phases of truth and prediction, the prediction's without its free offset.

    Both are on the branch within pi of the truth's mean direction, so that the cut lies where
    the truth has the fewest pixels; nothing is unwrapped.

    Parameters
    ----------
    remove_plane
        Also remove `phase_plane`.
    """
    if remove_plane:
        pred_HW = pred_HW * np.exp(-1j * phase_plane(truth_HW, pred_HW))
    middle = float(np.angle(np.exp(1j * np.angle(truth_HW)).sum()))
    offset = phase_offset(truth_HW, pred_HW)
    truth_phase: Real = middle + np.angle(truth_HW * np.exp(-1j * middle))
    pred_phase: Real = middle + np.angle(pred_HW * np.exp(-1j * (offset + middle)))
    return truth_phase, pred_phase


def complex_error(truth_HW: Complex, pred_HW: Complex) -> float:
    """Return min over a of ||truth - a pred|| / ||truth||, a complex; 1 for a zero prediction."""
    power = float(np.vdot(pred_HW, pred_HW).real)
    factor = np.vdot(pred_HW, truth_HW) / power if power > 0 else 0.0
    return float(np.linalg.norm(truth_HW - factor * pred_HW) / np.linalg.norm(truth_HW))
