"""The twin: a diffraction pattern stays the same when its exit wave is turned and conjugated.

Per patch, the predicted exit wave is compared with the true one and with the true one's twin,
conj(psi[::-1, ::-1]); the probes are centred at ((N - 1) / 2, (N - 1) / 2), which this leaves
in place. Where the probe is symmetric the twin fits the data as well as the truth does.

Letters: B patches, M probe modes, H rows, W columns. Modes are compared as one long vector.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.evaluate.truth import GroundTruth

Complex = NDArray[np.complexfloating]
Real = NDArray[np.float64]

# A wave and its twin can be told apart if they correlate less than 1 minus this: a difference of
# 4 %, ten times that of photon noise at 1e9 photons. It must be small: under the ideal disk both
# share the disk and a positive mean, and at N=32 half of the patches correlate above 0.997 with
# their own twin; 0.01 would leave 17 of 676 patches to judge by.
DISTINCT = 1e-3
# A patch is on the twin if twin minus direct correlation exceeds this fraction of the largest
# possible difference, that between the truth and its twin. More than 0: an empty patch under a
# symmetric probe is a tie, which rounding would decide; and waves that are neither (a mirrored
# object) scatter round the tie. Less than the 0.45 of a twin found in an early prototype.
MARGIN = 0.25
# Patches at a time: what they take stays in the cache, which halves the time.
_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinReading:
    """What the twin test found; None where no patch can say.

    share: of the distinct patches, those that can tell truth from twin, that is closer to the twin.
    Correlations are medians over patches, of the predicted exit wave with the true one (direct),
    with the true one's twin, and the larger of the two (best).
    """

    share: float | None
    distinct_patches: int
    patches: int
    direct_correlation: float | None
    twin_correlation: float | None
    best_correlation: float | None


def read_twin(pred_BHW: Complex, truth: GroundTruth) -> TwinReading:
    """Compare predicted patches with the truth and with its twin."""
    direct, twin, truth_twin = wave_correlations(truth.patches_BHW, pred_BHW, truth.probe_MHW)
    distinct = np.isfinite(direct) & (truth_twin < 1 - DISTINCT)
    on_twin = distinct & (twin - direct > MARGIN * (1 - truth_twin))
    count = int(distinct.sum())
    return TwinReading(
        share=int(on_twin.sum()) / count if count else None,
        distinct_patches=count,
        patches=len(pred_BHW),
        direct_correlation=_median(direct),
        twin_correlation=_median(twin),
        best_correlation=_median(np.maximum(direct, twin)),
    )


def wave_correlations(truth_BHW: Complex, pred_BHW: Complex, probe_MHW: Complex) -> Real:
    """Correlate exit waves patch by patch; a patch's scale and phase do not matter.

    Return (3, B), 0 to 1: prediction with truth, prediction with the truth's twin, and truth with
    its own twin; NaN where a wave is zero or not finite.
    """
    found = np.full((3, len(truth_BHW)), np.nan)
    for start in range(0, len(truth_BHW), _BATCH):
        batch = slice(start, start + _BATCH)
        truth = _unit_waves(truth_BHW[batch], probe_MHW)
        pred = _unit_waves(pred_BHW[batch], probe_MHW)
        twin = truth[..., ::-1, ::-1].conj()
        pairs = ((truth, pred), (twin, pred), (truth, twin))
        for row, (first, second) in enumerate(pairs):
            found[row, batch] = np.abs(np.einsum("bmhw,bmhw->b", first.conj(), second))
    return found


def _unit_waves(patches_BHW: Complex, probe_MHW: Complex) -> NDArray[np.complex128]:
    """Return exit waves (B, M, H, W) of unit norm; NaN where that is impossible."""
    largest = np.abs(patches_BHW).max(axis=(1, 2), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        # By inverses, since dividing a complex number by a real one is a complex division.
        wave = (patches_BHW * (1 / largest))[:, None] * probe_MHW.astype(np.complex128)
        norm = np.sqrt((np.abs(wave) ** 2).sum(axis=(1, 2, 3), keepdims=True))
        return np.asarray(wave * (1 / norm))


def _median(values: Real) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None
