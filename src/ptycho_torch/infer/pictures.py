"""Amplitude and phase of a stitched object, beside the known one if there is one.

Letters: Y rows, X columns of an object.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.infer.stitch import Stitched
from ptycho_torch.physics.predict import illuminated
from ptycho_torch.runtime.plot_style import new_figure, save, styled


def draw_object(whole: Stitched, guess_YX: NDArray[Any] | None, folder: Path) -> None:
    """Write `amplitude` and `phase`, PNG and SVG; what hardly any light reached is blank."""
    lit = illuminated(whole.coverage_YX)
    found = np.where(lit, whole.object_YX, np.nan)
    images, titles = [found], ["stitched"]
    beside = _window(guess_YX, whole)
    if beside is not None:
        beside = np.where(lit, beside, np.nan)
        images, titles = [found, _in_phase(beside, found)], ["stitched", "object in the file"]
    _draw([np.abs(image) for image in images], titles, folder, "amplitude", cyclic=False)
    _draw([np.angle(image) for image in images], titles, folder, "phase", cyclic=True)


def _window(guess_YX: NDArray[Any] | None, whole: Stitched) -> NDArray[Any] | None:
    """Return the part of a known object that the stitched one shows; None if it does not cover
    it."""
    if guess_YX is None:
        return None
    first = whole.origin_2
    last = first + whole.object_YX.shape
    if (first < 0).any() or (last > guess_YX.shape).any():
        return None
    return guess_YX[first[0] : last[0], first[1] : last[1]]


def _in_phase(guess: NDArray[Any], found: NDArray[Any]) -> NDArray[Any]:
    """Return the known object turned by the constant phase that no data fix."""
    inner = np.nansum(found * guess.conj())
    return guess * (inner / abs(inner)) if abs(inner) > 0 else guess


def _draw(
    images: Sequence[NDArray[Any]], titles: Sequence[str], folder: Path, name: str, *, cyclic: bool
) -> None:
    with styled():
        figure = new_figure(4.2 * len(images), 3.8)
        for axes, image, title in zip(
            figure.subplots(1, len(images), squeeze=False)[0], images, titles, strict=True
        ):
            shown = image[np.isfinite(image)]
            low, high = np.percentile(shown, [0.5, 99.5]) if shown.size else (0.0, 1.0)
            if cyclic and high - low > np.pi:
                drawn = axes.imshow(image, cmap="twilight_shifted", vmin=-np.pi, vmax=np.pi)
            else:
                drawn = axes.imshow(image, cmap="gray", vmin=low, vmax=high)
            axes.set_title(title)
            axes.set_xlabel("column, px")
            axes.set_ylabel("row, px")
            label = "phase, rad" if cyclic else "amplitude"
            figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)
        save(figure, folder, name)
