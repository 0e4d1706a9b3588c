"""What the state of a training may hold: it is judged as a whole before any of it is taken up.

A state with the right checksum may still be none: whoever can write into a results folder can sign.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ptycho_torch.runtime.errors import printable

_MOST = 2**53
Count = Annotated[int, Field(ge=0, le=_MOST)]
Number = Annotated[int, Field(ge=1, le=_MOST)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Plain = bool | int | Finite | list[int | Finite]


class _Kept(BaseModel):
    # Strict: what JSON holds is what was written, never converted.
    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


class KeptStop(_Kept):
    """As `RunStopped`."""

    outcome: str
    epoch: Count
    step: Count
    reason: str


class KeptHistory(_Kept):
    """As `History.state` gives it."""

    rows: list[dict[str, int | float | None]]
    best: dict[str, Tensor] | None
    best_epoch: Number | None
    best_gain: Finite
    norms_before: Tensor
    parts: Count
    clipped: Count


class KeptWatch(_Kept):
    """As `Watch.state` gives it."""

    first_loss: float | None
    spikes: Count
    steps: Count
    first: Tensor
    in_a_row: Tensor


class KeptCollapse(_Kept):
    """As `CollapseGuard.state` gives it."""

    in_a_row: list[dict[str, Count]]


class KeptLearner(_Kept):
    """As `Learner.state` gives it."""

    stopped: KeptStop | None
    network: dict[str, Tensor]
    log_gain: Tensor | None
    optimizer: dict[str, dict[str, Tensor]]
    rate: Finite
    schedule: dict[str, Plain] | None
    history: KeptHistory
    watch: KeptWatch
    collapse: KeptCollapse


class KeptState(_Kept):
    """As `Keeper` writes it."""

    format: str
    identity: dict[str, Any]
    machine: str
    epochs: Number
    sittings: Number
    wall_s: Annotated[Finite, Field(ge=0)]
    learners: dict[str, KeptLearner]


def must_be_whole(state: Mapping[str, Any]) -> None:
    """Raise a `ValueError` of one line if a state lacks something or has what is never written."""
    try:
        KeptState.model_validate(state)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(printable(f"{where}: {first['msg']}")) from None


def must_be_like(found: Tensor | None, mine: Tensor | None, what: str) -> None:
    """Raise `ValueError` if a tensor has another type or shape than the one it is to replace."""
    one, other = (None if t is None else f"{t.dtype} {tuple(t.shape)}" for t in (found, mine))
    if one != other:
        raise ValueError(f"{printable(what)} is {one}, expected {other}")


def must_be_weights(found: Mapping[str, Tensor], mine: Mapping[str, Tensor], what: str) -> None:
    """Raise `ValueError` if weights are of another network than mine."""
    if found.keys() != mine.keys():
        raise ValueError(f"{what} has other tensors than this network")
    for name, tensor in found.items():
        must_be_like(tensor, mine[name], f"{what}.{name}")


def must_be_moments(found: Mapping[str, Tensor], parameter: Tensor, names: set[str]) -> None:
    """Raise `ValueError` if what an optimiser keeps of a parameter is neither nothing nor all that
    `names` says."""
    if found and set(found) != names:
        raise ValueError(f"optimizer has {printable(', '.join(sorted(found)))}")
    for name, value in found.items():
        must_be_like(value, torch.zeros(()) if name == "step" else parameter, f"optimizer {name}")


def must_be_epochs(history: Mapping[str, Any], *, most: int, val_loss: str) -> None:
    """Raise `ValueError` if a history is not of at most so many epochs, a best one among them."""
    rows, best = history["rows"], history["best_epoch"]
    if [row.get("epoch") for row in rows] != list(range(1, min(len(rows), most) + 1)):
        raise ValueError(f"history has not a row for each of at most {most} epochs")
    if any(row.keys() != rows[0].keys() or not _finite(row.get(val_loss)) for row in rows):
        raise ValueError(f"history has rows of other columns, or without {val_loss}")
    if (best is None) != (not rows) or (best or 0) > len(rows):
        raise ValueError(f"history has {len(rows)} rows and its best epoch is {best}")
    if (history["best"] is None) != (best is None):
        raise ValueError("history has not the weights of its best epoch alone")
    norms = history["norms_before"]
    must_be_like(norms, torch.zeros(norms.numel(), dtype=torch.float64), "history.norms_before")


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
