"""What a step of training or inference sees: frames in groups, where they lie, what was measured.

Letters: n groups, B of a batch, C frames of a group, H rows, W columns. Positions are the
(row, column) of a frame's upper left corner, pixels: a whole part and a fraction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.data.dataset_file import Split
from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss
from ptycho_torch.physics.views import split_positions

# Positions this near to whole pixels are whole: what float32 in a file leaves of them.
_WHOLE_PX = 1e-3

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
