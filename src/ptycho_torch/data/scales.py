"""The scales in force: what they are, where they come from, and that they reach the physics."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ptycho_torch.runtime.errors import InputError

# float32 amplitudes, summed over a scan; a lost override is off by percents, or by factors.
_REACHED = 1e-3
NUMBERS = ("input_scale", "intensity_scale", "norm_Y_I")


class ScaleLost(RuntimeError):
    """A scale that was requested did not reach the physics: a fault of ours, never a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """The constants that a reconstruction was made with; None: not known, or there is none.

    Raises
    ------
    InputError
        If one is not a number > 0.
    """

    input_scale: float | None = None
    """What amplitudes are multiplied by before the network."""

    intensity_scale: float | None = None
    """The physics scale s: (s A)^2 are photons."""

    intensity_scale_source: str | None = None
    """Where s is from: `learned`, `measured`, `closed_form`, or in the words of another program."""

    norm_Y_I: float | None = None
    """Object amplitude = the patches' amplitude times this."""

    def __post_init__(self) -> None:
        for name in NUMBERS:
            value = getattr(self, name)
            if value is not None and not (
                type(value) in (int, float) and math.isfinite(value) and value > 0
            ):
                raise InputError(f"scales.{name}: must be a number > 0, got {value!r}")
        if not isinstance(source := self.intensity_scale_source, str | None):
            raise InputError(f"scales.intensity_scale_source: must be text, got {source!r}")

    def record(self) -> dict[str, Any]:
        """Return them for JSON."""
        return asdict(self)

    def text(self) -> str:
        """Return them in one line, for a log."""
        values = {name: getattr(self, name) for name in NUMBERS}
        known = [f"{k} {'not known' if v is None else format(v, '.6g')}" for k, v in values.items()]
        return f"{', '.join(known)} ({self.intensity_scale_source or 'source not known'})"


FIELDS = tuple(field.name for field in fields(Scales))


def check_scale_reached(name: str, requested: float, before: ArrayLike, after: ArrayLike) -> None:
    """Measure a scale on the data at the point of use, and refuse to go on if it is another one.

    Parameters
    ----------
    name
        What the scale is called, for the message.
    requested
        The scale that was requested: `after` = `before` / `requested`.
    before, after
        Data as read, and as the physics got them; >= 0.

    Raises
    ------
    ScaleLost
        If they are not what division by `requested` gives.
    """
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
