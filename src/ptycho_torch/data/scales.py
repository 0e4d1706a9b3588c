"""The scales in force: what they are, where they come from, and that they reach the physics."""

import math

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel

from ptycho_torch.config.base import Positive

# float32 amplitudes, summed over a scan; a lost override is off by percents, or by factors.
_REACHED = 1e-3
NUMBERS = ("input_scale", "intensity_scale", "norm_Y_I")


class ScaleLost(RuntimeError):
    """A scale that was requested did not reach the physics: a fault of ours, never a result."""


class Scales(BaseModel, frozen=True, strict=True, extra="ignore"):
    """The constants that a reconstruction was made with; None: not known, or there is none.

    input_scale: what amplitudes are multiplied by before the network; intensity_scale: s, (s A)^2
    are photons; intensity_scale_source: `learned`, `measured`, `given`, or in the words of
    another program; norm_Y_I: object amplitude = the patches' amplitude times this.
    """

    input_scale: Positive | None = None
    intensity_scale: Positive | None = None
    intensity_scale_source: str | None = None
    norm_Y_I: Positive | None = None


def check_scale_reached(name: str, requested: float, before: ArrayLike, after: ArrayLike) -> None:
    """Raise `ScaleLost` unless the data that the physics got, `after`, are those read, `before`,
    divided by `requested`; both are >= 0; `name` is for the message."""
    raw, used = (float(np.sum(np.asarray(data), dtype=np.float64)) for data in (before, after))
    # Dark data are the same under every scale, and say nothing.
    if raw == 0 and used == 0:
        return
    found = raw / used if used else math.inf
    if not abs(found / requested - 1) <= _REACHED:
        raise ScaleLost(
            f"{name} of {requested:.6g} was requested, the data were divided by {found:.6g}: the "
            "override was lost on its way"
        )
