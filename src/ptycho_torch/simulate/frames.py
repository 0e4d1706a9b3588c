"""What a split shows, random lines with a phase, and the light that it sends to the detector.

Objects are drawn by numpy's `RandomState`, which is frozen across numpy versions. What is per pixel
of an object is computed before patches are cut; what is per pixel of a patch is computed for a few
groups, which stay in the processor's cache.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

import numpy as np
import scipy
import skimage
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator, RandomState
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.config.dataset import ObjectSettings, ScanSettings, SimulatedDataset
from ptycho_torch.physics.forward import intensities
from ptycho_torch.physics.stitch import Array, object_patches

_AT_ONCE = 16
_SHARE_A_STREAM = 64
_BLUR = ((1, 1), (2, 5), (5, 10))
"""Weight and sigma (pixels) of each Gaussian by which lines are blurred."""

Image = NDArray[np.float64]


def line_images(stream: RandomState, *, images: int, size_px: int, num_lines: int) -> Image:
    """Return amplitudes >= 0 of blurred random lines, (images, size_px, size_px).

    Each image is drawn on a canvas of twice the side, blurred as g1 + 2 g5 + 5 g10 (g_k: Gaussian
    of sigma k pixels, reflecting edges), and its central part is kept.
    """
    side, margin = 2 * size_px, size_px // 2
    centre = slice(margin, margin + size_px)
    amplitudes = np.empty((images, size_px, size_px))
    for amplitude in amplitudes:
        canvas = np.zeros((side, side))
        for row0, column0, row1, column1 in (stream.rand(num_lines, 4) * side).astype(int):
            canvas[skimage.draw.line(row0, column0, row1, column1)] = 1.0
        blurred = [weight * scipy.ndimage.gaussian_filter(canvas, s) for weight, s in _BLUR]
        amplitude[:] = sum(blurred)[centre, centre]
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


class Raster(NamedTuple):
    """Groups of patches on a grid: corner of each group, and of each patch within its group."""

    corners_n2: Array
    nominal_C2: Array


def raster(scan: ScanSettings, *, size_px: int, patch_px: int, step_px: int) -> Raster:
    """Return the groups that fit an object of `size_px`, row by row."""
    offset = scan.group_offset_px if scan.gridsize == 2 else 0
    places = np.arange(0, size_px - patch_px - offset + 1, step_px)
    inner = np.arange(scan.gridsize) * scan.group_offset_px
    grids = (np.meshgrid(axis, axis, indexing="ij") for axis in (places, inner))
    return Raster(*(np.stack(grid, axis=-1).reshape(-1, 2) for grid in grids))


def cut_patches(images: Array, scan: Raster, patch_px: int, groups: slice = slice(None)) -> Array:
    """Return the patches of all images, or of some groups, image by image, (n, C, H, W)."""
    a_scan = len(scan.corners_n2)
    image, group = np.divmod(np.arange(len(images) * a_scan)[groups], a_scan)
    places = scan.corners_n2[group][:, None] + scan.nominal_C2
    return object_patches(images, places, image[:, None], patch_px)


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects of a split, (images, size, size), and where patches are cut from them.

    norm: the mean over patches of the largest amplitude; objects: drawn / norm.
    """

    drawn: Array
    objects: Array
    scan: Raster
    patch_px: int
    norm: float

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (n, C, H, W)."""
        groups = len(self.objects) * len(self.scan.corners_n2)
        return groups, len(self.scan.nominal_C2), self.patch_px, self.patch_px

    def batches(self) -> list[slice]:
        """Return slices of groups that together are all groups."""
        return [slice(i, i + _AT_ONCE) for i in range(0, self.shape[0], _AT_ONCE)]


def draw_scene(settings: SimulatedDataset, split: str) -> Scene:
    """Draw one split's objects."""
    seed, side = getattr(settings.seeds, split), settings.patch_px
    drawn = draw_objects(settings.object, images=settings.images_per_split, seed=seed)
    step = settings.scan.train_step_px if split == "train" else settings.scan.test_step_px
    scan = raster(settings.scan, size_px=settings.object.size_px, patch_px=side, step_px=step)
    largest = np.abs(drawn)
    for axis in (2, 1):
        largest = sliding_window_view(largest, side, axis=axis).max(axis=-1)
    norm = float(cut_patches(largest, scan, 1).mean(dtype=np.float64))
    return Scene(drawn, drawn / np.float32(norm), scan, side, norm)


def mean_power(scene: Scene, modes: Tensor) -> float:
    """Return the mean over patches of sum |psi|^2 of the exit waves psi = P O.

    That is the sum over pixels of |P|^2 times the mean |O|^2 there, which needs no wave.
    """
    squared = np.square(np.abs(scene.objects))
    seen_HW = np.zeros(scene.shape[2:])
    for groups in scene.batches():
        patches = cut_patches(squared, scene.scan, scene.patch_px, groups)
        seen_HW += patches.sum(axis=(0, 1), dtype=np.float64)
    light_HW = modes.abs().double().square().sum(dim=0).numpy()
    return fsum((seen_HW * light_HW).ravel()) / (scene.shape[0] * scene.shape[1])


def diffract(scene: Scene, modes: Tensor) -> Array:
    """Return noise-free amplitudes, (n, C, H, W)."""
    amplitude = np.empty(scene.shape, dtype=np.float32)
    for groups in scene.batches():
        patches = cut_patches(scene.objects, scene.scan, scene.patch_px, groups)
        amplitude[groups] = intensities(torch.from_numpy(patches), modes).sqrt_().numpy()
    return amplitude


def illuminated_patches(scene: Scene, modes: Tensor) -> tuple[Array, Array]:
    """Return the amplitude of patches times probe, and the phase of patches, (n, C, H, W)."""
    amplitude = cut_patches(np.abs(scene.objects), scene.scan, scene.patch_px)
    amplitude *= np.sqrt(np.square(np.abs(modes.numpy())).sum(axis=0))
    return amplitude, cut_patches(np.angle(scene.objects), scene.scan, scene.patch_px)


def count_photons(
    amplitude: Array, intensity_scale: float, stream: Callable[[int], Generator]
) -> Array:
    """Return sqrt(Poisson((s A)^2)) / s for amplitudes (n, ...); root photons are s A.

    Every 64 groups have a stream of their own, named by the first, and drawn from in order.
    """
    noisy = np.empty(amplitude.shape, dtype=np.float32)
    for start in range(0, len(amplitude), _SHARE_A_STREAM):
        some = slice(start, start + _SHARE_A_STREAM)
        rate = np.square(intensity_scale * amplitude[some], dtype=np.float64)
        noisy[some] = np.sqrt(stream(start).poisson(rate)) / intensity_scale
    return noisy
