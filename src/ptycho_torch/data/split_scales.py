"""Losses with the constants of each split, and what a forward pass needs of it.

Letters: B batch, C patches of a group, H rows, W columns, M probe modes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.data.dataset_file import Split
from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss, scale_B111

LossName = Literal["mae", "poisson"]
LOSSES: tuple[LossName, ...] = ("mae", "poisson")


@dataclass(frozen=True, slots=True)
class SplitScales:
    """Constants of one split: s in root photons per unit amplitude, and what losses relate to."""

    intensity_scale: float
    mean_amplitude: float
    mean_counts: float

    @classmethod
    def of(cls, split: Split) -> "SplitScales":
        """Measure them on a split's stored amplitudes."""
        data = split.arrays["diffraction"]
        counts = float(np.square(data, dtype=np.float64).mean()) * split.intensity_scale**2
        return cls(split.intensity_scale, float(data.mean(dtype=np.float64)), counts)

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
            mean = scale_B111(self.mean_amplitude, observed_BCHW)
            return mae_loss(predicted_BCHW, observed_BCHW, mean, good_BCHW)
        return poisson_loss(
            predicted_BCHW,
            observed_BCHW,
            scale_B111(self.intensity_scale, observed_BCHW),
            scale_B111(self.mean_counts, observed_BCHW),
            good_BCHW,
        )


def statistical_input_scale(split: Split) -> float:
    """Return sqrt((N/2)^2 / mean over patches of sum A^2), from the training split."""
    amplitude_nCHW = split.diffraction_nCHW
    power = np.square(amplitude_nCHW, dtype=np.float64).sum(axis=(-2, -1)).mean()
    return float(np.sqrt((amplitude_nCHW.shape[-1] / 2) ** 2 / power))


def probe_tensor(split: Split) -> Tensor:
    """Return the stored probe, (M, H, W), complex64."""
    return torch.from_numpy(split.probe_MHW.copy())
