"""Random line objects: amplitude from blurred lines, phase from an amplitude.

The stream is numpy's `RandomState`, which is frozen across numpy versions, so that the objects
are the same everywhere and for ever.
"""

import numpy as np
import scipy
import skimage
from numpy.random import RandomState
from numpy.typing import NDArray

from ptycho_torch.config.dataset import ObjectSettings

Image = NDArray[np.float64]
_BLUR = ((1, 1), (2, 5), (5, 10))
"""Weight and sigma (pixels) of each Gaussian."""


def line_images(stream: RandomState, *, images: int, size_px: int, num_lines: int) -> Image:
    """Return amplitudes >= 0 of blurred random lines, (images, size_px, size_px).

    Each image is drawn on a canvas of twice the side, blurred as g1 + 2 g5 + 5 g10 (g_k: Gaussian
    of sigma k pixels, reflecting edges), and its central part is kept. The stream moves on by
    4 * `num_lines` draws per image.
    """
    side, margin = 2 * size_px, size_px // 2
    centre = slice(margin, margin + size_px)
    amplitudes = np.empty((images, size_px, size_px))
    for amplitude in amplitudes:
        canvas = np.zeros((side, side))
        for row0, column0, row1, column1 in (stream.rand(num_lines, 4) * side).astype(int):
            canvas[skimage.draw.line(row0, column0, row1, column1)] = 1.0
        blurred = sum(
            weight * scipy.ndimage.gaussian_filter(canvas, sigma) for weight, sigma in _BLUR
        )
        amplitude[:] = blurred[centre, centre]
    return amplitudes


def draw_objects(settings: ObjectSettings, *, images: int, seed: int) -> NDArray[np.complex64]:
    """Return the complex objects of one split, (images, size, size), un-normalised.

    The phase is pi * tanh((A - max A / 2) / (3 mean A)), radians, of the amplitude or of another
    one; max and mean over all images. All amplitudes are drawn first, so that they do not depend
    on where the phase comes from.
    """
    stream = RandomState(seed)
    size = {"images": images, "size_px": settings.size_px, "num_lines": settings.num_lines}
    amplitude = line_images(stream, **size)
    if not settings.set_phi:
        return amplitude.astype(np.complex64)
    source = amplitude if settings.phase == "from_amplitude" else line_images(stream, **size)
    phase = np.pi * np.tanh((source - source.max() / 2) / (3 * source.mean()))
    return (amplitude * np.exp(1j * phase)).astype(np.complex64)
