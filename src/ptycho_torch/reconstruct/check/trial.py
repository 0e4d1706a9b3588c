"""How well a reading explains a file's frames: by prediction, or by a quick reconstruction.

Letters: n frames, N side of a frame, M probe modes, Y rows, X columns of the object.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.positions import corners_of
from ptycho_torch.data.predict import predict_scan
from ptycho_torch.data.prepare import measured
from ptycho_torch.data.raw import Array, Raw
from ptycho_torch.data.resize import resized
from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.reconstruct.rpie import reconstruct_rpie

PREDICTED_FRAMES, RECONSTRUCTED_FRAMES = 64, 64
# Detector of the quick reconstruction, pixels: enough to tell readings apart.
_QUICK_PX = 64
_QUICK = RpieSettings(
    passes=12, batch_size=4, refine_probe=True, probe_from_pass=3, probe_scale="frames"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reading gives.

    reading; error: relative error of the amplitudes, None where the reading is impossible; why:
    it is; errors_n: squared error of each frame.
    """

    reading: ScanConventions
    error: float | None
    why: str
    errors_n: NDArray[np.float64] | None


def predicted(raw: Raw, reading: ScanConventions) -> Outcome:
    """Return how well the file's own probe and object predict its frames under a reading."""
    frames = np.linspace(0, len(raw.frames_nHW) - 1, PREDICTED_FRAMES).round().astype(int)
    assert raw.object_YX is not None
    corners = corners_of(raw, reading, [])
    low, high = np.rint(corners.min(axis=0)), np.rint(corners.max(axis=0))
    if (low < 0).any() or (high + raw.frames_nHW.shape[-1] > raw.object_YX.shape).any():
        return Outcome(reading, None, "windows reach out of the object", None)
    scan = _part(raw, reading, np.unique(frames), with_object=True)
    return _outcome(reading, scan, predict_scan(scan))


def reconstructed(raw: Raw, reading: ScanConventions) -> Outcome:
    """Return how well some neighbouring frames can be explained by one object under a reading."""
    corners = corners_of(raw, reading, [])
    distance = np.square(corners - np.median(corners, axis=0)).sum(axis=1)
    nearest = np.sort(np.argsort(distance, kind="stable")[:RECONSTRUCTED_FRAMES])
    scan = _part(raw, reading, nearest, with_object=False)
    if scan.patch_px > _QUICK_PX:
        scan = resized(scan, ScanConventions(patch_px=_QUICK_PX))
    probe = scan.probe_MHW if scan.probe_MHW is not None else _start_probe(scan)
    with _one_thread():
        done = reconstruct_rpie(
            scan.amplitude_nHW, scan.positions_n2, probe, _QUICK, good_1HW=scan.good_1HW
        )
    if done.stopped == "non_finite":
        return Outcome(reading, None, "the quick reconstruction diverged", None)
    frames = predict_amplitudes(
        done.object_YX, done.probe_MHW, scan.positions_n2, origin=done.origin
    )
    return _outcome(reading, scan, frames)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Small frames gain nothing by threads, and lose much where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _part(
    raw: Raw, reading: ScanConventions, frames: NDArray[np.intp], *, with_object: bool
) -> Scan:
    """Return some frames of a file, as a reading has them."""
    good = raw.good_nHW
    if good is not None and len(good) == len(raw.frames_nHW) > 1:
        good = good[frames]
    amplitude, good, scale = measured(raw, reading, raw.frames_nHW[frames], good, [])
    return Scan(
        source=raw.source,
        amplitude_nHW=amplitude,
        positions_n2=corners_of(raw, reading, [])[frames],
        probe_MHW=None if raw.probe_MHW is None else raw.probe_MHW.astype(np.complex64),
        object_YX=raw.object_YX.astype(np.complex64)
        if with_object and raw.object_YX is not None
        else None,
        good_1HW=good,
        intensity_scale=scale,
    )


def _outcome(reading: ScanConventions, scan: Scan, predicted_nHW: Array) -> Outcome:
    used = np.ones((1, 1, 1), bool) if scan.good_1HW is None else scan.good_1HW
    seen = np.where(used, scan.amplitude_nHW, 0).astype(np.float64)
    made = np.where(used, predicted_nHW, 0).astype(np.float64)
    power = float(np.square(made).sum())
    # The file's probe may be in other units: one factor for all frames.
    made *= float((seen * made).sum()) / power if power > 0 else 0.0
    total = float(np.square(seen).sum())
    errors = np.square(seen - made).sum(axis=(1, 2)) / total
    return Outcome(reading, float(errors.sum()) ** 0.5, "", errors)


def _start_probe(scan: Scan) -> NDArray[np.complex64]:
    """Return the wave of flat phase in the detector that has the frames' mean power."""
    mean = np.sqrt(np.square(scan.amplitude_nHW).mean(axis=0))
    wave = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(mean), norm="ortho"))
    return wave[None].astype(np.complex64)


def twin_likeness(probe_MHW: Array) -> float:
    """Return how like the first mode is to its own twin, conj(P(-r)), at the best shift: 0 to 1.

    At 1 the sign of both axes cannot be told from frames: the turned, conjugated object fits too.
    """
    wave = np.fft.fft2(probe_MHW[0].astype(np.complex128))
    # The spectrum of conj(P(-r)) is conj of that of P; correlation of the two is that of P * P.
    overlap = np.abs(np.fft.ifft2(wave * wave)).max()
    return float(overlap / np.square(np.abs(probe_MHW[0]), dtype=np.float64).sum())


def told_apart(best: Outcome, other: Outcome, *, ratio: float) -> bool:
    """Return whether one reading explains the same frames better than another, beyond chance.

    Its error must be smaller by the ratio, and frame by frame: the mean difference of squared
    errors beyond five standard errors.
    """
    if best.error is None or other.error is None:
        return best.error is not None
    if other.error < ratio * best.error:
        return False
    assert best.errors_n is not None and other.errors_n is not None
    if len(best.errors_n) != len(other.errors_n):
        return True
    gain = other.errors_n - best.errors_n
    return bool(gain.mean() > 5 * gain.std() / len(gain) ** 0.5)
