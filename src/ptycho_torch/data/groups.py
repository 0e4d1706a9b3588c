"""Groups of neighbouring frames of a scattered scan, found by a k-d tree.

Letters: n frames, G groups, C frames of a group, K candidates. Positions are (row, column), pixels.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.scan import GroupSettings
from ptycho_torch.data.scan import Scan
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

# Two frames nearer than this were taken at one place: their overlap says nothing.
_SAME_PLACE_PX = 1e-6


def scan_groups(
    scan: Scan, frames_n: NDArray[np.int64], settings: GroupSettings, *, seed: int
) -> NDArray[np.int64]:
    """Return groups of some of a scan's frames, (G, C), by their number in the scan.

    At gridsize 1 a group is one frame: all, or `n_images` of them chosen by the seed, rising.
    `InputError` as `neighbour_groups`, or if there are fewer frames than images requested.
    """
    if settings.gridsize > 1:
        groups = neighbour_groups(
            scan.positions_n2[frames_n], settings, seed=seed, side_px=scan.patch_px,
            source=scan.source,
        )  # fmt: skip
        return frames_n[groups]
    count, total = settings.n_images, len(frames_n)
    if count is None:
        return frames_n[:, None]
    if count > total:
        raise InputError(f"{scan.source}: {count} images are requested, there are {total}")
    chosen = named_stream(seed, "images").choice(total, count, replace=False)
    return frames_n[np.sort(chosen)[:, None]]


def neighbour_groups(
    positions_n2: NDArray[np.float64],
    settings: GroupSettings,
    *,
    seed: int,
    side_px: int,
    source: str,
) -> NDArray[np.int64]:
    """Return groups of neighbours, (G, C), the frame that a group was drawn around first.

    Each frame in turn has a group drawn around it, the others from its K nearest neighbours; if G
    (`n_images`; None: as many as frames) is less, the seed chooses those frames. `InputError` if
    there are too few frames or candidates, two frames at one place, or neighbours that do not
    overlap, being of `side_px`.
    """
    frames, size, candidates = len(positions_n2), settings.frames, settings.neighbor_count
    if frames < size:
        raise InputError(f"{source}: has {frames} frames, a group needs {size}")
    if candidates < size:
        raise InputError(
            f"{source}: neighbor_count of {candidates} is less than the {size} frames of a group"
        )
    near = min(candidates, frames - 1)
    distance, index = scipy.spatial.cKDTree(positions_n2).query(positions_n2, k=near + 1)
    if (together := distance[:, 1] < _SAME_PLACE_PX).any():
        first = int(together.argmax())
        raise InputError(
            f"{source}: frames {sorted(index[first, :2].tolist())} were taken at one place, "
            f"{tuple(positions_n2[first].tolist())}; groups need distinct positions: remove one"
        )
    stream = named_stream(seed, "groups")
    rounds, rest = divmod(settings.n_images or frames, frames)
    chosen = np.sort(stream.choice(frames, rest, replace=False))
    around = np.concatenate([np.tile(np.arange(frames), rounds), chosen])
    # The tree gives a frame itself first: there are no two at one place.
    drawn = stream.permuted(index[around, 1:], axis=1)[:, : size - 1]
    groups = np.concatenate([around[:, None], np.sort(drawn, axis=1)], axis=1).astype(np.int64)
    reach = np.ptp(positions_n2[groups], axis=1).max(axis=1)
    if (reach >= side_px).any():
        worst = int(reach.argmax())
        raise InputError(
            f"{source}: frames {groups[worst].tolist()} are neighbours but {reach[worst]:.3g} px "
            f"apart, more than a frame of {side_px} px: they do not overlap; use gridsize 1, or a "
            "smaller neighbor_count"
        )
    return groups
