"""A picture of patches: amplitudes normalised patch by patch, and phases.

Letters: P patches, H rows, W columns of a patch.
"""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.util import montage

from ptycho_torch.runtime.disk import PathLike, atomic_write

# A patch varies by less than rounding leaves on a constant: there is nothing to normalise by.
_FLAT = 1e-5


def draw_patches(path: PathLike, patches_PHW: NDArray[Any], *, total: int) -> None:
    """Draw patches in rows of four: amplitude, and phase about its mean direction if complex.

    Parameters
    ----------
    patches_PHW
        What to show, complex or real; what is not finite is red.
    total
        How many patches there are.
    """
    amplitudes = [_normalised(np.abs(patch)) for patch in patches_PHW]
    panels = [("amplitude less its mean, over its deviation", amplitudes, "gray", 2.5)]
    if np.iscomplexobj(patches_PHW):
        turned = [np.angle(patch * np.conj(np.nansum(patch))) for patch in patches_PHW]
        panels.append(("phase about its mean direction, rad", turned, "twilight_shifted", np.pi))
    columns = min(4, len(patches_PHW))
    shape = (-(-len(patches_PHW) // columns), columns)
    figure = Figure(figsize=(5.5 * len(panels), 5.5), dpi=110, layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, images, colours, limit) in zip(grid, panels, strict=True):
        drawn = axes.imshow(
            montage(images, fill=0, padding_width=1, grid_shape=shape),
            cmap=colormaps[colours].with_extremes(bad="red"),
            vmin=-limit,
            vmax=limit,
            interpolation="nearest",
        )
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
        figure.colorbar(drawn, ax=axes, shrink=0.8)
    figure.supxlabel(
        f"{len(patches_PHW)} of {total} patches, in rows, each normalised by itself; red: not "
        "finite", fontsize=8,
    )  # fmt: skip
    with atomic_write(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def _normalised(amplitude_HW: NDArray[Any]) -> NDArray[np.float64]:
    finite = amplitude_HW[np.isfinite(amplitude_HW)]
    mean, deviation = (finite.mean(), finite.std()) if finite.size else (0.0, 0.0)
    return np.asarray((amplitude_HW - mean) / (deviation if deviation > _FLAT * mean else np.inf))
