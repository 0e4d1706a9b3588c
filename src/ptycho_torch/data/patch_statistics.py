"""Per-patch statistics: is there structure in what a network predicts, and at which scale?

Of the modulus, and of the complex patch where there is one; the latter do not change when a patch
is turned by a global phase, which no diffraction pattern fixes.

Letters: P patches (the patches of a group count one by one), H rows, W columns.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scales import Scales
from ptycho_torch.files import io

Statistics = dict[str, dict[str, NDArray[np.float64]]]

FORMAT = "ptycho-torch patch statistics 1"
# A patch varies by less than rounding leaves on a constant: there is nothing to normalise by.
_FLAT = 1e-5


def patch_statistics(patches_PHW: NDArray[Any]) -> Statistics:
    """Return the statistics of each patch over its own pixels, (P,) each; NaN where a patch is not
    finite.

    `amplitude`, of A = |O|: `mean`, `std`, `min`, `max` and `var_zero_mean`, the mean of
    (A - mean A)^2. `complex`, only of complex patches: `var_zero_mean`, the mean of
    |O - mean O|^2.
    """
    # One by one: double precision of all of them at once takes several times their memory.
    with np.errstate(invalid="ignore", over="ignore"):
        each = [_of_one(patch_HW) for patch_HW in patches_PHW]
    return {
        block: {name: np.array([one[block][name] for one in each]) for name in names}
        for block, names in each[0].items()
    }


def _of_one(patch_HW: NDArray[Any]) -> dict[str, dict[str, Any]]:
    amplitude = np.abs(patch_HW).astype(np.float64)
    variance = np.square(amplitude - amplitude.mean()).mean()
    statistics = {
        "amplitude": {
            "mean": amplitude.mean(),
            "std": np.sqrt(variance),
            "min": amplitude.min(),
            "max": amplitude.max(),
            "var_zero_mean": variance,
        }
    }
    if np.iscomplexobj(patch_HW):
        wave = patch_HW.astype(np.complex128)
        spread = np.square(np.abs(wave - wave.mean())).mean()
        statistics["complex"] = {"var_zero_mean": spread}
    return statistics


def chosen_patches(total: int, limit: int) -> NDArray[np.int64]:
    """Return which patches are looked at: at most `limit`, evenly spread from first to last."""
    return np.rint(np.linspace(0, total - 1, min(total, limit))).astype(np.int64)


def statistics_record(statistics: Statistics) -> dict[str, Any]:
    """Return statistics for JSON: a list per name, null where a value is not finite."""
    return {
        block: {name: list(map(io.finite_or_none, values)) for name, values in names.items()}
        for block, names in statistics.items()
    }


def write_patch_statistics(
    folder: io.PathLike, patches_PHW: NDArray[Any], scales: Scales, *, limit: int, made_by: str
) -> None:
    """Write `patch_stats.json` and `patches.png` of some patches (`chosen_patches`) into `folder`.

    patches_PHW: all patches, as the network gives them, in units of `norm_Y_I`; scales: in force
    where they were made; made_by: what made them, in words.
    """
    chosen = chosen_patches(len(patches_PHW), limit)
    draw_patches(Path(folder) / "patches.png", patches_PHW[chosen], total=len(patches_PHW))
    record = {
        "format": FORMAT,
        "made_by": made_by,
        "patches": len(patches_PHW),
        "limit": limit,
        "chosen": chosen.tolist(),
        "shape": list(patches_PHW.shape[1:]),
        "scales": scales.model_dump(),
        **statistics_record(patch_statistics(patches_PHW[chosen])),
    }
    io.write_json(Path(folder) / "patch_stats.json", record)


def draw_patches(path: io.PathLike, patches_PHW: NDArray[Any], *, total: int) -> None:
    """Draw the amplitudes of patches, of `total`, in rows of four, each normalised by itself; what
    is not finite is red."""
    from matplotlib import colormaps  # Slow to import.
    from matplotlib.figure import Figure
    from skimage.util import montage

    count, columns = len(patches_PHW), min(4, len(patches_PHW))
    amplitudes = [_normalised(np.abs(patch)) for patch in patches_PHW]
    shape = (-(-count // columns), columns)
    cells = montage(amplitudes, fill=0, padding_width=1, grid_shape=shape)
    figure = Figure(figsize=(5.5, 5.5), dpi=110, layout="constrained")
    axes, colours = figure.subplots(), colormaps["gray"].with_extremes(bad="red")
    axes.imshow(cells, cmap=colours, vmin=-2.5, vmax=2.5, interpolation="nearest")
    axes.set_title(
        f"{count} of {total} patches in rows: amplitude less its mean, over its deviation "
        "(-2.5 to 2.5); red: not finite", fontsize=7,
    )  # fmt: skip
    axes.set_axis_off()
    with io.atomic_write(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def _normalised(amplitude_HW: NDArray[Any]) -> NDArray[np.float64]:
    finite = amplitude_HW[np.isfinite(amplitude_HW)]
    mean, deviation = (finite.mean(), finite.std()) if finite.size else (0.0, 0.0)
    return np.asarray((amplitude_HW - mean) / (deviation if deviation > _FLAT * mean else np.inf))
