"""Reconstructions beside the truth, as pictures that travel inside the page."""

import base64
import io as memory
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ptycho_torch.files import io
from ptycho_torch.report.runs_table import KINDS, Kind
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import number
from ptycho_torch.statistics.runs import shown_runs

# The last of the 256 entries of a palette is kept for pixels without a value.
_LEVELS = 255
Limits = tuple[float, float]


def galleries(
    runs: pd.DataFrame, reconstructions: Sequence[Path], undefined: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the chosen runs of every dataset beside its truth, as the page's template takes them.

    Parameters
    ----------
    runs
        A row per run.
    reconstructions
        `<dataset>/<arm>/seed-<n>/reconstruction.npz` of runs.
    undefined
        Score that no run has -> reason.

    Raises
    ------
    InputError
        If the reconstruction of a chosen run is missing, unreadable or lacks an array.
    """
    paths = {"/".join(path.parts[-4:-1]): path for path in reconstructions}
    return [
        _gallery(str(dataset), mine, paths, undefined)
        for dataset, mine in runs.groupby("dataset", sort=False)
    ]


def _gallery(
    dataset: str, runs: pd.DataFrame, paths: Mapping[str, Path], undefined: Mapping[str, str]
) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if kind is KINDS[0] or runs[kind.score.column].notna().any()]
    chosen = [(place, run, _read(run, kinds, paths)) for place, run in shown_runs(runs).iterrows()]
    reasons = [
        f"{kind.label} is not shown: {undefined.get(kind.score.name, 'no run has a score of it')}"
        for kind in KINDS
        if kind not in kinds
    ]
    truths = [chosen[0][2][kind.truth] for kind in kinds] if chosen else []
    limits = [_limits(truth[0]) for truth in truths]
    shown = list(zip(kinds, limits, strict=False))
    cards: list[dict[str, Any]] = [
        {
            "title": "truth",
            "run": None,
            "failed": False,
            "pictures": [
                _picture(truth[0], kind, limit, f"truth, {dataset}")
                for truth, (kind, limit) in zip(truths, shown, strict=True)
            ],
        }
    ]
    for place, run, arrays in chosen:
        cards.append(
            {
                "title": run["arm"],
                "run": place,
                "seed": run["seed"],
                "outcome": run["outcome"],
                "failed": bool(run["failed"]),
                "pictures": [
                    _picture(arrays[kind.key][0], kind, limit, _name(run), kind.caption(run))
                    for kind, limit in shown
                ],
            }
        )
    return {
        "dataset": dataset,
        "cards": cards if chosen else [],
        "scales": [_scale(kind, limit) for kind, limit in shown],
        "missing": reasons,
        "images": len(truths[0]) if truths else 0,
    }


def _name(run: "pd.Series[Any]") -> str:
    return f"{run['dataset']}/{run['arm']}/seed-{run['seed']}"


def _read(
    run: "pd.Series[Any]", kinds: Sequence[Kind], paths: Mapping[str, Path]
) -> dict[str, NDArray[Any]]:
    if _name(run) not in paths:
        raise InputError(
            f"{_name(run)}/reconstruction.npz: is missing, and this run has to be shown; "
            "evaluate it first"
        )
    return io.read_npz(paths[_name(run)], *(key for k in kinds for key in (k.key, k.truth)))


def _limits(image: NDArray[Any]) -> Limits:
    """Return the truth's range; a flat or empty truth gets a range that can be drawn."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _picture(
    image: NDArray[Any], kind: Kind, limits: Limits, about: str, caption: str = ""
) -> dict[str, str]:
    """Return one image on its truth's scale, with its caption and what is wrong with it."""
    finite = np.isfinite(image)
    note = "" if finite.all() else "pixels without a value are left out"
    note = note if finite.any() else "no values"
    return {
        "source": _png(image, kind.colours, limits),
        "label": f"{kind.label}, {caption}" if caption else kind.label,
        "text": f"{kind.label} of {about}" + (f" ({note})" if note else ""),
        "note": note,
    }


def _scale(kind: Kind, limits: Limits) -> dict[str, str]:
    ramp = np.linspace(*limits, _LEVELS)[None]
    low, high = (number(limit) for limit in limits)
    source = _png(ramp, kind.colours, limits)
    return {"label": kind.label, "low": low, "high": high, "source": source}


def _png(image: NDArray[Any], colours: str, limits: Limits) -> str:
    """Return a PNG of one pixel per value as a data URI; what has no value is transparent.

    A palette of the colour scale's own entries is lossless and a third the size of RGBA.
    """
    from matplotlib import colormaps  # Slow to import, and used here alone.

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
