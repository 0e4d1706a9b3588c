"""Plain NumPy versions of what numerics.py times: one patch, pair, ring, window or frame at a time.

They say what the package's functions compute, slowly; a test compares the two.

Letters: B patches, I images, n frames, M probe modes, H rows, W columns, Y rows, X columns of an
object. Positions are the (row, column) of a patch's upper left corner, whole pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def stitch_tiles(patches_BHW: Array, positions_B2: Array, image_B: Array, tile_px: int) -> Array:
    """Return the mean of the patches' central tiles where they lie, (I, H, W)."""
    first = (patches_BHW.shape[-1] - tile_px) // 2
    corners = positions_B2 - positions_B2.min(axis=0)
    size = corners.max(axis=0) + tile_px
    total = np.zeros((image_B.max() + 1, *size), np.complex128)
    count = np.zeros(total.shape)
    for patch, (row, column), image in zip(patches_BHW, corners, image_B, strict=True):
        tile = patch[first : first + tile_px, first : first + tile_px]
        total[image, row : row + tile_px, column : column + tile_px] += tile
        count[image, row : row + tile_px, column : column + tile_px] += 1
    return total / count


def reassemble(
    patches_BHW: Array, positions_B2: Array, image_B: Array, weight_HW: Array, tile_px: int
) -> Array:
    """Return the weighted mean of whole patches where the central tiles lie, (I, H, W)."""
    side = patches_BHW.shape[-1]
    size = positions_B2.max(axis=0) + side
    total = np.zeros((image_B.max() + 1, *size), np.complex128)
    weights = np.zeros(total.shape)
    for patch, (row, column), image in zip(patches_BHW, positions_B2, image_B, strict=True):
        total[image, row : row + side, column : column + side] += weight_HW * patch
        weights[image, row : row + side, column : column + side] += weight_HW
    first = (side - tile_px) // 2
    top, left = positions_B2.min(axis=0) + first
    bottom, right = positions_B2.max(axis=0) + first + tile_px
    covered = (slice(None), slice(top, bottom), slice(left, right))
    return total[covered] / weights[covered]


def ssim(truth_HW: Array, pred_HW: Array, window_px: int = 7) -> float:
    """Return the SSIM of Wang et al. (2004), uniform window, sample covariance, windows inside."""
    span, pixels = np.ptp(truth_HW), window_px**2
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    rows, columns = (size - window_px + 1 for size in truth_HW.shape)
    values = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            x = truth_HW[row : row + window_px, column : column + window_px]
            y = pred_HW[row : row + window_px, column : column + window_px]
            mx, my = x.mean(), y.mean()
            vx, vy = x.var(ddof=1), y.var(ddof=1)
            vxy = ((x - mx) * (y - my)).sum() / (pixels - 1)
            likeness = (2 * mx * my + c1) * (2 * vxy + c2)
            values[row, column] = likeness / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(values.mean())


def ring_correlation(first_HW: Array, second_HW: Array) -> Array:
    """Return the Fourier ring correlation under a Hann window, one mask a ring."""
    shape, side = first_HW.shape, min(first_HW.shape)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in shape))
    spectra = []
    for image in (first_HW, second_HW):
        mean = (window * image).sum() / window.sum()
        spectra.append(np.fft.fft2(window * (image - mean)))
    rows, columns = (np.fft.fftfreq(n) for n in shape)
    ring = np.rint(np.hypot(rows[:, None], columns) * side)
    found = []
    for number in range(1, side // 2 + 1):
        a, b = (spectrum[ring == number] for spectrum in spectra)
        power = (np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum()
        found.append((a * b.conj()).sum().real / np.sqrt(power) if power > 0 else 0.0)
    return np.array(found)


def overlap_products(
    patches_BHW: Array, positions_B2: Array, intensity_HW: Array, pairs_K2: Array
) -> tuple[Array, Array]:
    """Return of each pair sum w a conj(b) over its overlap, and its agreement, (K,) each."""
    side = patches_BHW.shape[-1]
    products, agreements = [], []
    for i, j in pairs_K2:
        shift = positions_B2[j] - positions_B2[i]
        here = tuple(slice(max(0, s), side + min(0, s)) for s in shift)
        there = tuple(slice(max(0, -s), side + min(0, -s)) for s in shift)
        a, b = patches_BHW[i][here], patches_BHW[j][there]
        light_a, light_b = intensity_HW[here], intensity_HW[there]
        total = light_a + light_b
        weight = np.where(total > 0, light_a * light_b / np.where(total > 0, total, 1), 0)
        product = (weight * a * b.conj()).sum()
        power = (weight * np.abs(a) ** 2).sum() * (weight * np.abs(b) ** 2).sum()
        products.append(product)
        agreements.append(np.abs(product) / np.sqrt(power))
    return np.array(products), np.array(agreements)


def rpie(
    amplitude_nHW: Array, positions_n2: Array, probe_HW: Array, orders: list[Array], alpha: float
) -> Array:
    """Return the object after a pass over the frames for each order, probe known, (Y, X).

    Maiden, Johnson and Li, Optica 4, 736 (2017), doi:10.1364/OPTICA.4.000736.
    """
    side = probe_HW.shape[-1]
    corners = positions_n2 - positions_n2.min(axis=0)
    thing = np.ones(corners.max(axis=0) + side, np.complex64)
    light = np.abs(probe_HW) ** 2
    step = probe_HW.conj() / ((1 - alpha) * light + alpha * light.max())
    observed = np.fft.ifftshift(amplitude_nHW, axes=(-2, -1)) * side
    for order in orders:
        for frame in order:
            row, column = corners[frame]
            window = thing[row : row + side, column : column + side]
            exit_wave = window * probe_HW
            wave = np.fft.fft2(exit_wave)
            modulus = np.abs(wave)
            mended = np.fft.ifft2(wave * observed[frame] / np.where(modulus > 0, modulus, 1))
            window += step * (mended - exit_wave)
    return thing
