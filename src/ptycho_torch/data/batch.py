"""What a step of training or inference sees: frames in groups, where they lie, what was measured;
and the groups of neighbours of a scattered scan, found by a k-d tree.

Letters: n groups, B of a batch, C frames of a group, H rows, W columns; where groups are found, n
frames, G groups, K candidates. Positions are the (row, column) of a frame's upper left corner,
pixels: a whole part and a fraction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.config.scan import GroupSettings
from ptycho_torch.data.dataset_file import Split
from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss
from ptycho_torch.physics.views import split_positions
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

# Positions this near to whole pixels are whole: what float32 in a file leaves of them.
_WHOLE_PX = 1e-3
# Two frames nearer than this were taken at one place: their overlap says nothing.
_SAME_PLACE_PX = 1e-6

LossName = Literal["mae", "poisson"]
LOSSES: tuple[LossName, ...] = ("mae", "poisson")


@dataclass(frozen=True, slots=True)
class SplitScales:
    """Constants of one split: s in root photons per unit amplitude, and what losses relate to."""

    intensity_scale: float
    mean_amplitude: float
    mean_counts: float

    def loss(
        self,
        name: LossName,
        predicted_BCHW: Tensor,
        observed_BCHW: Tensor,
        good_BCHW: Tensor | None = None,
    ) -> Tensor:
        """Return the named loss of a batch, relative to this split's constants; `good_BCHW` says
        which pixels were measured, None: all."""
        if name == "mae":
            return mae_loss(predicted_BCHW, observed_BCHW, self.mean_amplitude, good_BCHW)
        scales = self.intensity_scale, self.mean_counts
        return poisson_loss(predicted_BCHW, observed_BCHW, *scales, good_BCHW)


@dataclass(frozen=True, slots=True)
class Batch:
    """Groups of frames: some, or all of a split or a scan; moved between devices as one.

    Measured amplitudes, in the units that enter the network, 0 where nothing was measured; whole
    pixels of the positions, int64, None where single frames need none; their fractions, float32,
    None: all are 0; which pixels were measured, also as (1, 1, H, W), None: all.
    """

    amplitude_BCHW: Tensor
    whole_BC2: Tensor | None = None
    fraction_BC2: Tensor | None = None
    good_BCHW: Tensor | None = None

    def __len__(self) -> int:
        return len(self.amplitude_BCHW)

    @property
    def channels(self) -> int:
        """C, frames of a group."""
        return self.amplitude_BCHW.shape[1]

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """Its tensors, in the order of the fields."""
        return self.amplitude_BCHW, self.whole_BC2, self.fraction_BC2, self.good_BCHW

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the same with every tensor changed."""
        return Batch(*(None if t is None else change(t) for t in self.tensors))  # type: ignore[arg-type]

    def take(self, index: Tensor | slice) -> "Batch":
        """Return some groups; a mask for all stays one."""
        return self.map(lambda tensor: tensor if len(tensor) < len(self) else tensor[index])

    def to(self, device: torch.device) -> "Batch":
        """Return the groups on a device; nothing is copied where they are there already."""
        return self.map(lambda tensor: tensor.to(device))

    def batches(self, size: int) -> "list[Batch]":
        """Return all groups in their own order; the last batch may be smaller."""
        return [self.take(slice(i, i + size)) for i in range(0, len(self), size)]

    def scales(self, intensity_scale: float) -> SplitScales:
        """Return the constants that losses relate to, over measured pixels."""
        amplitude = self.amplitude_BCHW.numpy()
        mask = self.good_BCHW
        good = True if mask is None else np.broadcast_to(mask.numpy(), amplitude.shape)
        square = float(np.square(amplitude, dtype=np.float64).mean(where=good))
        mean = float(amplitude.mean(dtype=np.float64, where=good))
        return SplitScales(intensity_scale, mean, square * intensity_scale**2)

    def statistical_scale(self) -> float:
        """Return sqrt((N/2)^2 / mean over frames of sum A^2), `input_scaling: statistical`."""
        squares = np.square(self.amplitude_BCHW.numpy(), dtype=np.float64)
        power = float(squares.sum(axis=(-2, -1)).mean())
        return float(((self.amplitude_BCHW.shape[-1] / 2) ** 2 / power) ** 0.5)


def groups_of_split(split: Split) -> Batch:
    """Return the groups of a split (docs/reference/files.md); positions only where C > 1."""
    amplitude, corners = torch.from_numpy(split.diffraction_nCHW), split.corners_nC2
    if amplitude.shape[1] == 1 or corners is None:
        return Batch(amplitude)
    return Batch(amplitude, *_whole_and_fraction(corners.astype(np.float64)))


def groups_of_scan(scan: Scan, members_nC: NDArray[np.int64], unit: float) -> Batch:
    """Return groups of a scan's frames; positions only where C > 1.

    members_nC: which frames form each group; unit: what the scan's amplitudes are divided by.
    """
    good, mask = scan.used, None
    scaled = (np.where(good, scan.amplitude_nHW, 0) / np.float32(unit)).astype(np.float32)
    if not good.all():
        mask = torch.from_numpy(good[None] if len(good) == 1 else good[members_nC])
    # A frame by itself explains its pattern wherever it was taken.
    frames = torch.from_numpy(scaled[members_nC])
    if members_nC.shape[1] == 1:
        return Batch(frames, good_BCHW=mask)
    return Batch(frames, *_whole_and_fraction(scan.positions_n2[members_nC]), mask)


def _whole_and_fraction(corners_nC2: NDArray[np.float64]) -> tuple[Tensor, Tensor | None]:
    whole, fraction = split_positions(torch.from_numpy(np.ascontiguousarray(corners_nC2)))
    if float(fraction.abs().max()) <= _WHOLE_PX:
        return whole, None
    return whole, fraction.to(torch.float32)


def scan_groups(
    scan: Scan, frames_n: NDArray[np.int64], settings: GroupSettings, *, seed: int
) -> NDArray[np.int64]:
    """Return groups of some of a scan's frames, (G, C), by their number in the scan.

    At gridsize 1 a group is one frame: all, or `n_images` of them chosen by the seed, rising.
    `InputError` as `neighbour_groups`, or if there are fewer frames than images requested.
    """
    if settings.gridsize > 1:
        return neighbour_groups(scan, frames_n, settings, seed=seed)
    count, total = settings.n_images, len(frames_n)
    if count is None:
        return frames_n[:, None]
    if count > total:
        raise InputError(f"{scan.source}: {count} images are requested, there are {total}")
    chosen = named_stream(seed, "images").choice(total, count, replace=False)
    return frames_n[np.sort(chosen)[:, None]]


def neighbour_groups(
    scan: Scan, frames_n: NDArray[np.int64], settings: GroupSettings, *, seed: int
) -> NDArray[np.int64]:
    """Return groups of neighbours, (G, C), the frame that a group was drawn around first.

    Each frame in turn has a group drawn around it, the others from its K nearest neighbours; if G
    (`n_images`; None: as many as frames) is less, the seed chooses those frames. `InputError` if
    there are too few frames, two at one place, or neighbours that do not overlap.
    """
    positions_n2, frames, size = scan.positions_n2[frames_n], len(frames_n), settings.gridsize**2
    if frames < size:
        raise InputError(f"{scan.source}: has {frames} frames, a group needs {size}")
    near = min(settings.neighbor_count, frames - 1)
    distance, index = scipy.spatial.cKDTree(positions_n2).query(positions_n2, k=near + 1)
    if (together := distance[:, 1] < _SAME_PLACE_PX).any():
        first = int(together.argmax())
        raise InputError(
            f"{scan.source}: frames {sorted(frames_n[index[first, :2]].tolist())} were taken at "
            "one place; groups need distinct positions: remove one"
        )
    stream = named_stream(seed, "groups")
    rounds, rest = divmod(settings.n_images or frames, frames)
    chosen = np.sort(stream.choice(frames, rest, replace=False))
    around = np.concatenate([np.tile(np.arange(frames), rounds), chosen])
    # The tree gives a frame itself first: there are no two at one place.
    drawn = stream.permuted(index[around, 1:], axis=1)[:, : size - 1]
    groups = np.concatenate([around[:, None], np.sort(drawn, axis=1)], axis=1).astype(np.int64)
    reach = np.ptp(positions_n2[groups], axis=1).max(axis=1)
    if (reach >= scan.patch_px).any():
        raise InputError(
            f"{scan.source}: frames {frames_n[groups[reach.argmax()]].tolist()} are neighbours but "
            f"{reach.max():.3g} px apart: they do not overlap; use gridsize 1, or a smaller "
            "neighbor_count"
        )
    return frames_n[groups]
