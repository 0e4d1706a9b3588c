"""How well conventions explain a file's frames: by prediction, or by a quick reconstruction.

Letters: n frames, M probe modes, H rows, W columns of a frame.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import RpieSettings, ScanConventions
from ptycho_torch.data.prepare import corners_of, cropped, scan_of
from ptycho_torch.data.scan import Array, Raw, Scan
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.reconstruct.engine import reconstruct

PREDICTED_FRAMES, RECONSTRUCTED_FRAMES = 64, 64
# Detector of the quick reconstruction, pixels: enough to tell conventions apart.
_QUICK_PX = 64
_QUICK = RpieSettings(iterations=12, batch_size=4, probe_from_iteration=3)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What conventions give: the relative error of the amplitudes, infinite where they are
    impossible, and why; errors_n: squared error of each frame."""

    conventions: ScanConventions
    error: float = np.inf
    why: str | None = None
    errors_n: NDArray[np.float64] | None = None

    def told_from(self, other: "Outcome", ratio: float) -> bool:
        """Return whether this explains the same frames better than another: by the ratio of their
        errors, and beyond chance, by five standard errors of the squared errors' mean difference.
        """
        if self.errors_n is None or other.errors_n is None:
            return self.errors_n is not None
        if other.error < ratio * self.error:
            return False
        gain = other.errors_n - self.errors_n
        return bool(gain.mean() > 5 * gain.std() / len(gain) ** 0.5)


def predicted(raw: Raw, conventions: ScanConventions) -> Outcome:
    """Return how well the file's own probe and object predict its frames."""
    assert raw.object_YX is not None and raw.probe_MHW is not None
    corners = corners_of(raw, conventions)
    low, high = np.rint(corners.min(axis=0)), np.rint(corners.max(axis=0))
    if (low < 0).any() or (high + raw.frames_nHW.shape[-1] > raw.object_YX.shape).any():
        return Outcome(conventions, why="windows reach out of the object")
    # Some frames, from first to last.
    spread = np.linspace(0, len(corners) - 1, PREDICTED_FRAMES).round().astype(int)
    scan = scan_of(raw, conventions, corners, np.unique(spread))
    guess = predict_amplitudes(raw.object_YX, raw.probe_MHW, scan.positions_n2)
    return _outcome(conventions, scan, guess)


def reconstructed(raw: Raw, conventions: ScanConventions) -> Outcome:
    """Return how well some neighbouring frames can be explained by one object."""
    corners = corners_of(raw, conventions)
    distance = np.square(corners - np.median(corners, axis=0)).sum(axis=1)
    nearest = np.sort(np.argsort(distance, kind="stable")[:RECONSTRUCTED_FRAMES])
    scan = scan_of(raw, conventions, corners, nearest)
    if scan.patch_px > _QUICK_PX:
        scan = cropped(scan, _QUICK_PX)
    if scan.probe_MHW is None:
        # The wave of flat phase in the detector that has the frames' mean power.
        mean = np.sqrt(np.square(scan.amplitude_nHW).mean(axis=0))
        wave = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(mean), norm="ortho"))
        scan = replace(scan, probe_MHW=wave[None].astype(np.complex64))
    made = reconstruct(scan, _QUICK)
    return _outcome(conventions, scan, made.predict(scan.positions_n2))


def _outcome(conventions: ScanConventions, scan: Scan, predicted_nHW: Array) -> Outcome:
    seen = np.where(scan.used, scan.amplitude_nHW, 0).astype(np.float64)
    made = np.where(scan.used, predicted_nHW, 0).astype(np.float64)
    power = float(np.square(made).sum())
    # The file's probe may be in other units: one factor for all frames.
    made *= float((seen * made).sum()) / power if power > 0 else 0.0
    errors = np.square(seen - made).sum(axis=(1, 2)) / float(np.square(seen).sum())
    return Outcome(conventions, float(errors.sum()) ** 0.5, errors_n=errors)


def twin_similarity(probe_MHW: Array) -> float:
    """Return how like the first mode is to its own twin, conj(P(-r)), at the best shift: 0 to 1,
    where the sign of both axes cannot be told, since the turned, conjugated object fits too."""
    wave = np.fft.fft2(probe_MHW[0].astype(np.complex128))
    # The spectrum of conj(P(-r)) is conj of that of P; correlation of the two is that of P * P.
    overlap = np.abs(np.fft.ifft2(wave * wave)).max()
    return float(overlap / np.square(np.abs(probe_MHW[0]), dtype=np.float64).sum())
