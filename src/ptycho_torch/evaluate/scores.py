"""How far a stitched image is from the truth: each score a number, or the reason why there is none.

Letters: H rows, W columns of one stitched, trimmed image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import skimage
from numpy.typing import NDArray

from ptycho_torch.evaluate.frc import crossing, ring_correlation, ring_frequencies

Real = NDArray[np.float64]
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
    if (reason := _no_score(truth_HW, pred_HW)) is not None:
        return dict.fromkeys(KINDS, reason)
    error = float(np.square(pred_HW - truth_HW).mean())
    peak = np.square(np.ptp(truth_HW))
    pearson: Score = FLAT_PREDICTION
    half: Score = FLAT_PREDICTION
    if pred_HW.std() > FLAT * truth_HW.std():
        pearson = float(np.corrcoef(truth_HW.ravel(), pred_HW.ravel())[0, 1])
        half = crossing(ring_frequencies(truth_HW.shape), ring_correlation(truth_HW, pred_HW))
    return {
        "ssim": ssim(truth_HW, pred_HW),
        "mae": float(np.abs(pred_HW - truth_HW).mean()),
        "psnr_db": float(10 * np.log10(peak / error)) if error > 0 else NO_ERROR,
        "pearson_r": pearson,
        "std_ratio": float(pred_HW.std() / truth_HW.std()),
        "frc_half": half,
    }


def ssim(truth_HW: Real, pred_HW: Real) -> Score:
    """Return the SSIM with the truth's range, or why there is none."""
    if (reason := _no_score(truth_HW, pred_HW)) is not None:
        return reason
    if min(truth_HW.shape) < SSIM_WINDOW_PX:
        return f"not defined: SSIM needs images of {SSIM_WINDOW_PX} px or more"
    value = skimage.metrics.structural_similarity(
        truth_HW, pred_HW, data_range=np.ptp(truth_HW), win_size=SSIM_WINDOW_PX
    )
    return float(value)


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


def _no_score(truth_HW: Real, pred_HW: Real) -> str | None:
    flat = truth_HW.std() <= FLAT * np.abs(truth_HW).max()
    return not_finite(pred_HW) or (FLAT_TRUTH if flat else None)
