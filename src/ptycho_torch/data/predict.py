"""What a scan's own probe and object predict for its frames, and whether it is what was measured.

Letters: n frames, M probe modes, H rows, W columns (H = W).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.runtime.errors import InputError

# Photons: below it, the noise of a root is summed count by count; above, it is 1/4.
_FEW_PHOTONS = 60
WITHIN_NOISE = 1.1
"""Prediction and measurement are equal if they differ by at most this many times the noise."""


def predict_scan(scan: Scan) -> NDArray[np.float32]:
    """Return the amplitudes that a scan's own probe and object give for its frames, (n, H, W).

    Raises
    ------
    InputError
        If the scan has no probe or no object.
    """
    if scan.probe_MHW is None or scan.object_YX is None:
        lacks = "probe" if scan.probe_MHW is None else "object"
        raise InputError(f"{scan.source}: has no {lacks}, so nothing can be predicted")
    return predict_amplitudes(scan.object_YX, scan.probe_MHW, scan.positions_n2)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a scan's own probe and object predict its frames.

    error: relative error of the amplitudes, after one factor; factor: measured / predicted, by
    total power; noise: the relative error that photon noise alone would give, None if s is unknown.
    """

    error: float
    factor: float
    noise: float | None

    @property
    def within_noise(self) -> bool | None:
        """Whether they are equal but for the noise; None where the noise is not known."""
        return None if self.noise is None else self.error <= WITHIN_NOISE * self.noise

    def sentence(self) -> str:
        """Return it in words."""
        words = f"predicted patterns differ from the stored ones by {self.error:.4g} (relative)"
        if self.noise is None:
            return f"{words}; the photon noise is not known"
        verdict = "within" if self.within_noise else "more than"
        return f"{words}, {verdict} the photon noise of {self.noise:.4g}"


def agreement(scan: Scan) -> Agreement:
    """Compare stored amplitudes with predicted ones, over the pixels that were measured.

    Raises
    ------
    InputError
        If the scan has no probe or no object.
    """
    used = np.ones((1, 1, 1), bool) if scan.good_1HW is None else scan.good_1HW
    measured = np.where(used, scan.amplitude_nHW, 0).astype(np.float64)
    predicted = np.where(used, predict_scan(scan), 0).astype(np.float64)
    power, total = float((predicted**2).sum()), float((measured**2).sum())
    # By power: the best factor of amplitudes is biased where photons are few.
    factor = (total / power) ** 0.5 if power > 0 else 0.0
    error = float(np.square(measured - factor * predicted).sum() / total) ** 0.5
    noise = None
    if scan.intensity_scale is not None:
        photons = (scan.intensity_scale * factor * predicted) ** 2
        expected = np.where(used, noise_of_roots(photons), 0).sum() / scan.intensity_scale**2
        noise = float(expected / total) ** 0.5
    return Agreement(error, factor, noise)


def noise_of_roots(photons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of (sqrt(K) - sqrt(m))^2 for K Poisson with the mean m.

    About 1/4 for many photons and 2 m for few; summed over K below 60.
    """
    from scipy.stats import poisson  # Slow to import.

    counts, means = np.arange(200)[:, None], np.linspace(0, _FEW_PHOTONS**0.5, 1201) ** 2
    table = (np.sqrt(counts) - np.sqrt(means)) ** 2 * poisson.pmf(counts, means)
    few = np.interp(np.minimum(photons, _FEW_PHOTONS), means, table.sum(axis=0))
    return np.where(photons < _FEW_PHOTONS, few, 0.25)
