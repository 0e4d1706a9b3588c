"""Training losses with the constants of each split, and the scale of the network's input.

Letters: B batch, C patches of a group, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from ptycho_torch.measurements.batch import Groups
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
    def of(cls, groups: Groups, intensity_scale: float) -> "SplitScales":
        """Measure them on a split's amplitudes."""
        counts = groups.mean_square() * intensity_scale**2
        return cls(intensity_scale, groups.mean_amplitude(), counts)

    def loss(
        self,
        name: LossName,
        predicted_BCHW: Tensor,
        observed_BCHW: Tensor,
        good_BCHW: Tensor | None = None,
    ) -> Tensor:
        """Return the named loss of a batch, relative to this split's constants."""
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


def statistical_input_scale(groups: Groups) -> float:
    """Return sqrt((N/2)^2 / mean over patches of sum A^2), from the training split."""
    amplitude_nCHW = groups.amplitude_nCHW.numpy()
    power = np.square(amplitude_nCHW, dtype=np.float64).sum(axis=(-2, -1)).mean()
    return float(np.sqrt((amplitude_nCHW.shape[-1] / 2) ** 2 / power))
