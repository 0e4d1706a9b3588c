"""Per-patch statistics: is there structure in what a network predicts, and at which scale?

Of the modulus, and of the complex patch; none changes when a patch is turned by a global phase,
which no diffraction pattern fixes.

Letters: P patches (the patches of a group count one by one), H rows, W columns.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.units import Scales
from ptycho_torch.files import io

Statistics = dict[str, dict[str, NDArray[np.float64]]]
_OF_A: Any = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max, "var_zero_mean": np.var}


def patch_statistics(patches_PHW: NDArray[Any]) -> Statistics:
    """Return the statistics of each patch over its own pixels, (P,) each; NaN if it is not finite.

    `amplitude`, of A = |O|: `mean`, `std`, `min`, `max` and `var_zero_mean`, the mean of
    (A - mean A)^2. `complex`: `var_zero_mean`, the mean of |O - mean O|^2.
    """
    # One by one: double precision of all of them at once takes several times their memory.
    with np.errstate(invalid="ignore", over="ignore"):
        amplitude = {
            name: np.array([measure(np.abs(patch).astype(np.float64)) for patch in patches_PHW])
            for name, measure in _OF_A.items()
        }
        spread = [patch.astype(np.complex128).var() for patch in patches_PHW]
    return {"amplitude": amplitude, "complex": {"var_zero_mean": np.array(spread)}}


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
    folder: io.PathLike, patches_PHW: NDArray[Any], scales: Scales, *, limit: int
) -> None:
    """Write `patch_stats.json` and `patches.png` of some patches (`chosen_patches`) into `folder`.

    patches_PHW: all patches, in units of `norm_Y_I`; scales: in force where they were made.
    """
    from ptycho_torch.files import pictures  # With it comes matplotlib.

    chosen, total = chosen_patches(len(patches_PHW), limit), len(patches_PHW)
    figure = pictures.draw_patches(patches_PHW[chosen], total=total)
    pictures.save_png(Path(folder) / "patches.png", figure)
    statistics = statistics_record(patch_statistics(patches_PHW[chosen]))
    facts = {"patches": total, "chosen": chosen.tolist(), "scales": scales.model_dump()}
    io.write_json(Path(folder) / "patch_stats.json", {**facts, **statistics})
