"""How far a stitched image is from the truth: each score a number, or the reason why there is none;
and up to which frequency two images agree, by their Fourier ring correlation.

Letters: H rows, W columns of one stitched, trimmed image, R rings. Frequencies are cycles per
pixel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import skimage
from numpy.typing import NDArray

Real = NDArray[np.float64]
Image = NDArray[np.inexact]
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
# Side of scikit-image's default window: 7x7, uniform, sample covariance.
SSIM_WINDOW_PX = 7


def image_scores(truth_HW: Real, pred_HW: Real) -> dict[str, Score]:
    """Return the scores of `KINDS` for one aligned image; the truth is finite.

    SSIM (Wang et al., IEEE Trans. Image Process. 13, 600 (2004), doi:10.1109/TIP.2003.819861) and
    PSNR use the truth's own range, max - min.
    """
    flat = truth_HW.std() <= FLAT * np.abs(truth_HW).max()
    if reason := not_finite(pred_HW) or (FLAT_TRUTH if flat else None):
        return dict.fromkeys(KINDS, reason)
    error, span = float(np.square(pred_HW - truth_HW).mean()), np.ptp(truth_HW)
    ssim: Score = f"not defined: SSIM needs images of {SSIM_WINDOW_PX} px or more"
    if min(truth_HW.shape) >= SSIM_WINDOW_PX:
        settings = {"data_range": span, "win_size": SSIM_WINDOW_PX}
        ssim = float(skimage.metrics.structural_similarity(truth_HW, pred_HW, **settings))
    pearson: Score = FLAT_PREDICTION
    half: Score = FLAT_PREDICTION
    if pred_HW.std() > FLAT * truth_HW.std():
        pearson = float(np.corrcoef(truth_HW.ravel(), pred_HW.ravel())[0, 1])
        half = crossing(ring_frequencies(truth_HW.shape), ring_correlation(truth_HW, pred_HW))
    return {
        "ssim": ssim,
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
    correlation = np.zeros_like(common)
    np.divide(common, np.sqrt(power), out=correlation, where=power > 0)
    return correlation


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
    threshold: Real = (snr + (2 * np.sqrt(snr) + 1) / root) / (snr + 1 + 2 * np.sqrt(snr) / root)
    return threshold


def windowed(image_HW: Image) -> Image:
    """Return an image made mean-free under a Hann window and multiplied by it, which keeps the
    borders from correlating."""
    window = _window(image_HW.shape)
    product: Image = window * (image_HW - (window * image_HW).sum() / window.sum())
    return product


def _window(shape: tuple[int, ...]) -> Real:
    # The first and last point of a Hann window are 0: two more are made and dropped.
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in shape))


def _over_rings(values_HW: Real) -> Real:
    """Return sums over rings, (R,), without the mean and the corners beyond Nyquist."""
    side = min(values_HW.shape)
    rows, columns = (np.fft.fftfreq(n) for n in values_HW.shape)
    ring = np.rint(np.hypot(rows[:, None], columns[None, :]) * side).astype(np.int64)
    sums = np.bincount(ring.ravel(), weights=values_HW.ravel())[1 : side // 2 + 1]
    return sums.astype(np.float64)
