"""Reconstructions beside the truth, as pictures that travel inside the page."""

import base64
import io as memory
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ptycho_torch.files import io
from ptycho_torch.report.publish.inputs import Inputs, named, run_of
from ptycho_torch.report.publish.table import why_undefined
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import number
from ptycho_torch.statistics.runs import shown_runs
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, PHASE_SSIM, Score

# The last of the 256 entries of a palette is kept for pixels without a value.
_LEVELS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Amplitude or phase."""

    key: str
    """Array of `reconstruction.npz`."""

    truth: str
    """The truth's array."""

    label: str
    """As printed."""

    colours: str
    """Matplotlib's name of the colour scale."""

    score: Score
    """What is printed under the picture."""


KINDS = (
    Kind(
        key="amplitude",
        truth="truth_amplitude",
        label="amplitude",
        colours="viridis",
        score=AMPLITUDE_SSIM,
    ),
    Kind(
        key="phase_synchronised",
        truth="truth_phase",
        label="phase, rad",
        colours="cividis",
        score=PHASE_SSIM,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image on its truth's scale."""

    source: str
    """Data URI of a PNG."""

    label: str
    """Kind, and SSIM if it is of a run."""

    text: str
    """In words, for those who do not see it."""

    note: str = ""
    """What is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A run, or the truth, in pictures."""

    title: str
    pictures: list[Picture]
    run: int | None = None
    """Row of the table; none for the truth."""
    seed: int | None = None
    outcome: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the colours of a kind stand for."""

    label: str
    low: str
    high: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The pictures of one dataset: the truth first."""

    dataset: str
    cards: list[Card]
    scales: list[Scale]
    missing: list[str]
    """Kinds that are not shown, and why."""
    images: int
    """How many objects the test split has; the first is shown."""


def galleries(inputs: Inputs) -> list[Gallery]:
    """Return the chosen runs of every dataset beside its truth.

    Raises
    ------
    InputError
        If the reconstruction of a chosen run is missing, unreadable or lacks an array.
    """
    parts = inputs.runs.groupby("dataset", sort=False)
    return [_gallery(str(dataset), runs, inputs) for dataset, runs in parts]


def _gallery(dataset: str, runs: pd.DataFrame, inputs: Inputs) -> Gallery:
    chosen = shown_runs(runs)
    kinds = [kind for kind in KINDS if kind is KINDS[0] or runs[kind.score.column].notna().any()]
    missing = [
        f"{kind.label} is not shown: {_reason(kind, runs, inputs)}"
        for kind in KINDS
        if kind not in kinds
    ]
    arrays = [_read(row, kinds, inputs) for _, row in chosen.iterrows()]
    if not arrays:
        return Gallery(dataset=dataset, cards=[], scales=[], missing=missing, images=0)
    truth = [arrays[0][kind.truth][0] for kind in kinds]
    limits = [_limits(image) for image in truth]
    cards = [
        Card(
            title="truth",
            pictures=[
                _picture(image, kind, limit, about=f"truth, {dataset}")
                for image, kind, limit in zip(truth, kinds, limits, strict=True)
            ],
        )
    ]
    for (index, row), mine in zip(chosen.iterrows(), arrays, strict=True):
        pictures = [
            _picture(mine[kind.key][0], kind, limit, about=named(run_of(row)), run=row)
            for kind, limit in zip(kinds, limits, strict=True)
        ]
        cards.append(
            Card(
                title=str(row["arm"]),
                pictures=pictures,
                seed=int(row["seed"]),
                run=int(str(index)),
                outcome=str(row["outcome"]),
                failed=bool(row["failed"]),
            )
        )
    scales = [_scale(kind, limit) for kind, limit in zip(kinds, limits, strict=True)]
    images = len(arrays[0][kinds[0].truth])
    return Gallery(dataset=dataset, cards=cards, scales=scales, missing=missing, images=images)


def _reason(kind: Kind, runs: pd.DataFrame, inputs: Inputs) -> str:
    first = why_undefined(runs.iloc[0], kind.score.column)
    return inputs.study.undefined.get(kind.score.name) or first or "no run has a score of it"


def _read(row: "pd.Series[Any]", kinds: list[Kind], inputs: Inputs) -> dict[str, NDArray[Any]]:
    run = run_of(row)
    if run not in inputs.reconstructions:
        raise InputError(
            f"{named(run)}/reconstruction.npz: is missing, and this run has to be shown; "
            "evaluate it first"
        )
    path = inputs.reconstructions[run]
    arrays = io.read_npz(path, *(key for kind in kinds for key in (kind.key, kind.truth)))
    for key, array in arrays.items():
        if array.ndim != 3 or not array.size or array.dtype.kind != "f":
            raise InputError(
                f"{path}: array '{key}' is {array.dtype} {array.shape}, expected real numbers of "
                "shape (images, h, w); evaluate this run again"
            )
    return arrays


def _limits(image: NDArray[Any]) -> tuple[float, float]:
    """Return the truth's range; a flat or empty truth gets a range that can be drawn."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _picture(
    image: NDArray[Any],
    kind: Kind,
    limits: tuple[float, float],
    *,
    about: str,
    run: "pd.Series[Any] | None" = None,
) -> Picture:
    label, note = kind.label, ""
    if run is not None:
        value = run[kind.score.column]
        label += ", no SSIM" if pd.isna(value) else f", SSIM {number(float(value))}"
    finite = np.isfinite(image)
    if not finite.any():
        note = "no values"
    elif not finite.all():
        note = "pixels without a value are left out"
    return Picture(
        source=_png(image, kind.colours, limits),
        label=label,
        text=f"{kind.label} of {about}" + (f" ({note})" if note else ""),
        note=note,
    )


def _scale(kind: Kind, limits: tuple[float, float]) -> Scale:
    ramp = np.linspace(*limits, _LEVELS)[None]
    low, high = (number(limit) for limit in limits)
    return Scale(label=kind.label, low=low, high=high, source=_png(ramp, kind.colours, limits))


def _png(image: NDArray[Any], colours: str, limits: tuple[float, float]) -> str:
    """Return a PNG of one pixel per value as a data URI; what has no value is transparent.

    A palette of the colour scale's own entries is lossless and a third the size of RGBA.
    """
    from matplotlib import colormaps  # Slow to import, and wanted here alone.

    low, high = limits
    share = (image.astype(float) - low) / (high - low)
    finite = np.isfinite(image)
    levels = np.clip(np.where(finite, share, 0) * _LEVELS, 0, _LEVELS - 1).astype(np.uint8)
    levels[~finite] = _LEVELS
    table = colormaps[colours].resampled(_LEVELS)(np.arange(_LEVELS), bytes=True)[:, :3]
    picture = Image.fromarray(levels).convert("L")
    picture.putpalette([*table.ravel().tolist(), 0, 0, 0])
    buffer = memory.BytesIO()
    picture.save(buffer, format="PNG", transparency=_LEVELS)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
