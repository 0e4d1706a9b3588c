"""Losses with the constants of each split.

Letters: B batch, C patches of a group, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss, scale_B111

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
            mean = scale_B111(self.mean_amplitude, observed_BCHW)
            return mae_loss(predicted_BCHW, observed_BCHW, mean, good_BCHW)
        return poisson_loss(
            predicted_BCHW,
            observed_BCHW,
            scale_B111(self.intensity_scale, observed_BCHW),
            scale_B111(self.mean_counts, observed_BCHW),
            good_BCHW,
        )
