"""Two images beside each other: what the data leave free between them (a factor, a phase plane, a
shift) is removed; how far they are apart, each score a number or the reason why there is none; up
to which frequency they agree, by their Fourier ring correlation.

Letters: H rows, W columns of an image, R rings. Frequencies are cycles per pixel, phases radians.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy
import skimage
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating]
Real = NDArray[np.float64]
Image = NDArray[np.inexact]
Free = Literal["phase", "all"]
MARGIN_PX = 8
"""Border round an image that a shift may draw on; larger shifts are not looked for."""
NYQUIST = 0.5
Score = float | str
"""A number, or in words why there is none, for the reader of a table."""
KINDS = ("ssim", "mae", "psnr_db", "pearson_r", "std_ratio", "frc_half")

NO_PHASE = "not defined: the truth has no phase"
FLAT_TRUTH = "not defined: the truth is constant"
FLAT_PREDICTION = "not defined: the prediction is constant"
NO_ERROR = "not defined: the error is zero"

# An image is constant if its standard deviation is under this fraction of the scale at hand:
# complex64 leaves about 1e-7 on a constant.
FLAT = 1e-5


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


def image_scores(truth_HW: Real, pred_HW: Real) -> dict[str, Score]:
    """Return the scores of `KINDS` for one aligned image of SSIM's window or more, truth finite.

    SSIM (Wang et al., IEEE Trans. Image Process. 13, 600 (2004), doi:10.1109/TIP.2003.819861) and
    PSNR use the truth's own range, max - min.
    """
    flat = truth_HW.std() <= FLAT * np.abs(truth_HW).max()
    if reason := not_finite(pred_HW) or (FLAT_TRUTH if flat else None):
        return dict.fromkeys(KINDS, reason)
    error, span = float(np.square(pred_HW - truth_HW).mean()), np.ptp(truth_HW)
    ssim = skimage.metrics.structural_similarity(truth_HW, pred_HW, data_range=span)
    pearson: Score = FLAT_PREDICTION
    half: Score = FLAT_PREDICTION
    if pred_HW.std() > FLAT * truth_HW.std():
        pearson = float(np.corrcoef(truth_HW.ravel(), pred_HW.ravel())[0, 1])
        half = crossing(ring_frequencies(truth_HW.shape), ring_correlation(truth_HW, pred_HW))
    return {
        "ssim": float(ssim),
        "mae": float(np.abs(pred_HW - truth_HW).mean()),
        "psnr_db": float(10 * np.log10(np.square(span) / error)) if error > 0 else NO_ERROR,
        "pearson_r": pearson,
        "std_ratio": float(pred_HW.std() / truth_HW.std()),
        "frc_half": half,
    }


def not_finite(pred_HW: NDArray[Any]) -> str | None:
    """Return the reason for an image with NaN or infinity in it; None if it has none."""
    bad = int((~np.isfinite(pred_HW)).sum())
    size = pred_HW.size
    return f"not defined: {bad} of {size} px of the prediction are not finite" if bad else None


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean over images; undefined, for the first reason, if any is."""
    reasons = [score for score in scores if isinstance(score, str)]
    return reasons[0] if reasons else float(np.mean([float(score) for score in scores]))


def value_of(score: Score) -> float | None:
    """Return a score's number; None if it is undefined."""
    return None if isinstance(score, str) else score


def ring_frequencies(shape: tuple[int, ...]) -> Real:
    """Return the frequency of each ring, (R,): multiples of 1 / shorter side, up to Nyquist."""
    side = min(shape)
    return np.arange(1, side // 2 + 1) / side


def ring_correlation(first_HW: Image, second_HW: Image) -> Real:
    """Return Re sum F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2) over each ring, (R,).

    Both images are `windowed`; they may be complex. A ring in which either is empty correlates by
    0. van Heel and Schatz, J. Struct. Biol. 151, 250 (2005), doi:10.1016/j.jsb.2005.05.009.
    """
    first, second = (np.fft.fft2(windowed(image)) for image in (first_HW, second_HW))
    power = _over_rings(np.abs(first) ** 2) * _over_rings(np.abs(second) ** 2)
    common = _over_rings((first * second.conj()).real)
    return np.divide(common, np.sqrt(power), out=np.zeros_like(common), where=power > 0)


def crossing(frequencies_R: Real, correlation_R: Real, level: float = 0.5) -> float:
    """Return where the curve first falls under `level`, linear between rings.

    The curve starts at correlation 1 and frequency 0; Nyquist if it never falls under `level`.
    """
    frequencies = np.concatenate([[0.0], frequencies_R])
    curve = np.concatenate([[1.0], correlation_R])
    under = curve[1:] < level
    if not under.any():
        return NYQUIST
    at = int(under.argmax())
    left, right = curve[at : at + 2]
    step = frequencies[at + 1] - frequencies[at]
    return float(frequencies[at] + step * (left - level) / (left - right))


def resolution(first_HW: Image, second_HW: Image) -> tuple[dict[str, Real], dict[str, float]]:
    """Return the ring correlation of two images with its frequencies and half-bit threshold, (R,)
    each, and where it first falls under that threshold, 1/2 and 1/7."""
    shape, curve = first_HW.shape, ring_correlation(first_HW, second_HW)
    frequencies, threshold = ring_frequencies(shape), half_bit(shape)
    return {"cycles_per_px": frequencies, "correlation": curve, "half_bit": threshold}, {
        "half_bit": crossing(frequencies, curve - threshold, 0.0),
        "half": crossing(frequencies, curve, 1 / 2),
        "seventh": crossing(frequencies, curve, 1 / 7),
    }


def half_bit(shape: tuple[int, ...]) -> Real:
    """Return the half-bit threshold of each ring, (R,): what two halves of one data set correlate
    by where both together hold half a bit per pixel (van Heel and Schatz 2005, equation 17).

    Pixels of a ring count by what the window leaves independent of them, (sum w^2)^2 / sum w^4 of
    the image's pixels: about a quarter.
    """
    window = _window(shape)
    independent = (window**2).mean() ** 2 / (window**4).mean()
    root = np.sqrt(_over_rings(np.ones(shape)) * independent)
    snr = (np.sqrt(2) - 1) / 2
    return (snr + (2 * np.sqrt(snr) + 1) / root) / (snr + 1 + 2 * np.sqrt(snr) / root)


def windowed(image_HW: Image) -> Image:
    """Return an image, mean-free, under a Hann window: borders must not correlate."""
    window = _window(image_HW.shape)
    return window * (image_HW - (window * image_HW).sum() / window.sum())


def _window(shape: tuple[int, ...]) -> Real:
    # The first and last point of a Hann window are 0: two more are made and dropped.
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in shape))


def _over_rings(values_HW: Real) -> Real:
    """Return sums over rings, (R,), without the mean and the corners beyond Nyquist."""
    side = min(values_HW.shape)
    rows, columns = (np.fft.fftfreq(n) for n in values_HW.shape)
    ring = np.rint(np.hypot(rows[:, None], columns[None, :]) * side).astype(np.int64)
    return np.bincount(ring.ravel(), weights=values_HW.ravel())[1 : side // 2 + 1].astype(float)
