"""A smaller detector: its centre alone, or its counts summed, with positions and probe to match.

With wavelength L, distance z, N pixels of size d, a pixel of the object plane is L z / (N d).
Cropping to p pixels coarsens it by N / p; binning keeps N d, so it stays and the window shrinks.

Letters: n frames, H rows, W columns (H = W = N before, p after), M probe modes, Y, X of the object.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.scan import Scan
from ptycho_torch.runtime.errors import InputError

# Share of the probe's power that may lie outside a smaller window before it is noted.
_OUTSIDE = 0.01


def resized(scan: Scan, reading: ScanConventions) -> Scan:
    """Return the scan as a detector of `patch_px` would have measured it; raises as `read_scan`."""
    side, small = scan.patch_px, reading.patch_px or scan.patch_px
    if small == side:
        return scan
    if small > side:
        raise InputError(
            f"{scan.source}: frames are {side} px, patch_px {small} asks for more; detectors are "
            "cut, never padded"
        )
    if reading.fit == "crop":
        return _cropped(scan, small)
    if side % small or small % 2:
        raise InputError(
            f"{scan.source}: frames of {side} px do not bin to {small} px; expected an even "
            f"divisor of {side}, or --fit crop"
        )
    return _binned(scan, small)


def _cropped(scan: Scan, small: int) -> Scan:
    side, probe, thing = scan.patch_px, scan.probe_MHW, scan.object_YX
    if probe is not None:
        # The wave whose far field is the centre of the probe's, pixel by pixel.
        wave = np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1))
        inner = np.fft.ifftshift(_inner(wave, small), axes=(-2, -1))
        probe = np.fft.ifft2(inner, norm="ortho").astype(np.complex64)
    return replace(
        scan,
        amplitude_nHW=_inner(scan.amplitude_nHW, small),
        good_1HW=None if scan.good_1HW is None else _inner(scan.good_1HW, small),
        positions_n2=scan.positions_n2 * (small / side),
        probe_MHW=probe,
        object_YX=None if thing is None else coarser(thing, small, side),
        notes=(
            *scan.notes,
            f"detector cropped from {side} to {small} px: pixels of the object plane are "
            f"{side / small:.6g} times as large, positions {small / side:.6g} times",
        ),
    )


def _inner(frames: NDArray[Any], small: int) -> NDArray[Any]:
    """Return the centre of frames, such that [N // 2] becomes [p // 2]."""
    first = frames.shape[-1] // 2 - small // 2
    return np.ascontiguousarray(frames[..., first : first + small, first : first + small])


def coarser(thing_YX: NDArray[Any], small: int, side: int) -> NDArray[np.complex64]:
    """Return an object on pixels `side / small` times as large, its pixel 0 where it was.

    The object is continued by its mirror image, so that nothing rings at its borders.
    """
    for axis in (0, 1):
        length = thing_YX.shape[axis]
        target = -(-length * small // side)
        # A length whose share is whole: continue by the mirror to it, twice for the period.
        whole = -(-length // side) * side
        index = np.arange(2 * whole) % (2 * length)
        index = np.where(index < length, index, 2 * length - 1 - index)
        mirrored = np.take(thing_YX, index, axis=axis)
        resampled = scipy.signal.resample(mirrored, 2 * whole * small // side, axis=axis)
        thing_YX = np.take(resampled, np.arange(target), axis=axis)
    return np.ascontiguousarray(thing_YX.astype(np.complex64))


def _binned(scan: Scan, small: int) -> Scan:
    side = scan.patch_px
    bins = side // small
    shape = (-1, small, bins, small, bins)
    counts = np.square(scan.amplitude_nHW, dtype=np.float64).reshape(shape).sum(axis=(2, 4))
    good, probe = scan.good_1HW, scan.probe_MHW
    notes = [
        *scan.notes,
        f"detector binned from {side} to {small} px, {bins} x {bins} counts summed: the window is "
        f"{small} px of the object plane, its pixels as they were",
    ]
    if probe is not None:
        inner = _inner(probe, small)
        outside = 1 - float((np.abs(inner) ** 2).sum() / (np.abs(probe) ** 2).sum())
        if outside > _OUTSIDE:
            notes.append(
                f"{100 * outside:.3g} % of the probe's power is outside the smaller window: the "
                "binned frames are blurred; crop the detector instead"
            )
        # The zero frequency is the first pixel of its bin, whose middle is (bins - 1) / 2 further:
        # this ramp moves the far field by so much.
        ramp = np.exp(-1j * np.pi * (bins - 1) / (small * bins) * np.arange(small))
        probe = np.ascontiguousarray(inner * np.multiply.outer(ramp, ramp).astype(np.complex64))
    return replace(
        scan,
        amplitude_nHW=np.sqrt(counts).astype(np.float32),
        # A bin with a bad pixel has not counted all its photons.
        good_1HW=None if good is None else np.asarray(good.reshape(shape).all(axis=(2, 4))),
        positions_n2=scan.positions_n2 + (side - small) // 2,
        probe_MHW=probe,
        notes=tuple(notes),
    )
