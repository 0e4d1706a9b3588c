"""What a split shows, and the light that it sends to the detector: a few groups at a time.

What is per pixel of an object is computed once there, before patches of it are cut; what is per
pixel of a patch is computed for a few groups, which stay in the processor's cache.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.physics.forward import intensities
from ptycho_torch.simulate.objects import draw_objects
from ptycho_torch.simulate.scan import Raster, cut_patches, raster

_AT_ONCE = 16

Each = Callable[[Callable[[slice], Any], Iterable[slice]], Iterator[Any]]
"""`map`, or that of a pool of threads."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects of a split, (images, size, size), and where patches are cut from them.

    norm: the mean over patches of the largest amplitude; objects: drawn / norm.
    """

    drawn: NDArray[np.complex64]
    objects: NDArray[np.complex64]
    scan: Raster
    patch_px: int
    step_px: int
    norm: float

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (n, C, H, W)."""
        groups = len(self.objects) * len(self.scan.corners_n2)
        return groups, len(self.scan.nominal_C2), self.patch_px, self.patch_px

    def batches(self) -> list[slice]:
        """Return slices of groups that together are all groups."""
        return [slice(i, i + _AT_ONCE) for i in range(0, self.shape[0], _AT_ONCE)]

    def patches(self, groups: slice) -> Tensor:
        """Return the patches of some groups, (B, C, H, W), complex."""
        return torch.from_numpy(cut_patches(self.objects, self.scan, self.patch_px, groups))


def draw_scene(settings: SimulatedDataset, split: str) -> Scene:
    """Draw one split's objects."""
    drawn = draw_objects(
        settings.object,
        images=settings.images_per_split,
        seed=getattr(settings.seeds, split),
    )
    side = settings.patch_px
    step = settings.scan.train_step_px if split == "train" else settings.scan.test_step_px
    scan = raster(settings.scan, size_px=settings.object.size_px, patch_px=side, step_px=step)
    norm = _mean_largest(np.abs(drawn), scan, side)
    return Scene(drawn, drawn / np.float32(norm), scan, side, step, norm)


def _mean_largest(modulus: NDArray[np.float32], scan: Raster, patch_px: int) -> float:
    columns = np.lib.stride_tricks.sliding_window_view(modulus, patch_px, axis=2).max(axis=-1)
    largest = np.lib.stride_tricks.sliding_window_view(columns, patch_px, axis=1).max(axis=-1)
    return float(cut_patches(largest, scan, 1)[..., 0, 0].astype(np.float64).mean())


def mean_power(scene: Scene, modes: Tensor, each: Each = map) -> float:
    """Return the mean over patches of sum |psi|^2 of the exit waves psi = P O.

    That is the sum over pixels of |P|^2 times the mean |O|^2 there, which needs no wave.
    """
    squared = np.square(np.abs(scene.objects))

    def seen(groups: slice) -> NDArray[np.float64]:
        patches = cut_patches(squared, scene.scan, scene.patch_px, groups)
        return patches.sum(axis=(0, 1), dtype=np.float64)

    seen_HW = np.sum(list(each(seen, scene.batches())), axis=0)
    light_HW = modes.abs().double().square().sum(dim=0).numpy()
    return fsum((seen_HW * light_HW).ravel()) / (scene.shape[0] * scene.shape[1])


def diffract(scene: Scene, modes: Tensor, each: Each = map) -> NDArray[np.float32]:
    """Return noise-free amplitudes, (n, C, H, W)."""
    amplitude = np.empty(scene.shape, dtype=np.float32)

    def fill(groups: slice) -> None:
        amplitude[groups] = intensities(scene.patches(groups), modes).sqrt_().numpy()

    for _ in each(fill, scene.batches()):
        pass
    return amplitude


def illuminated(scene: Scene, modes: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the amplitude of patches times probe, and the phase of patches, (n, C, H, W)."""
    lit = np.sqrt(np.square(np.abs(modes.numpy())).sum(axis=0))
    modulus, angle = np.abs(scene.objects), np.angle(scene.objects)
    amplitude, phase = (np.empty(scene.shape, dtype=np.float32) for _ in range(2))
    for groups in scene.batches():
        amplitude[groups] = cut_patches(modulus, scene.scan, scene.patch_px, groups) * lit
        phase[groups] = cut_patches(angle, scene.scan, scene.patch_px, groups)
    return amplitude, phase
