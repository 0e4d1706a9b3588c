"""One image of a dataset split of the study, as a scan.

Letters: n groups, C patches in a group.
"""

import numpy as np

from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.data.raw import Raw
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError


def read_split_image(source: str, image: int) -> Raw:
    """Return the frames of one image of a split, with its object in the network's units.

    Raises
    ------
    InputError
        As `read_split`, or if the split has no positions or no such image.
    """
    patch_px = _side(source)
    split = read_split(source, patch_px=patch_px)
    arrays = split.arrays
    if not {"coords_offsets", "coords_nominal"} <= arrays.keys():
        raise InputError(f"{source}: has no 'coords_offsets' and 'coords_nominal': no positions")
    images = arrays.get("image_index", np.zeros(len(arrays["diffraction"]), int))
    count = int(images.max()) + 1
    if image >= count:
        raise InputError(f"{source}: has no image {image}; it has {count}, counted from 0")
    mine = images == image
    frames = np.moveaxis(arrays["diffraction"][mine], -1, 1).reshape(-1, patch_px, patch_px)
    corners = (arrays["coords_offsets"] + arrays["coords_nominal"])[mine][:, 0]
    thing = arrays["YY_full"][image, :, :, 0] / split.norm_Y_I if "YY_full" in arrays else None
    return Raw(
        source=source,
        layout="split",
        frames_nHW=frames,
        positions_n2=np.moveaxis(corners, -1, 1).reshape(-1, 2).astype(np.float64),
        probe_MHW=split.probe_MHW,
        object_YX=thing,
        intensity_scale=split.intensity_scale,
        notes=(
            f"split of the study, image {image} of {count}",
            f"object divided by norm_Y_I {split.norm_Y_I:.6g}",
        ),
    )


def _side(source: str) -> int:
    shape = io.read_npz(source, "diffraction")["diffraction"].shape
    if len(shape) != 4:
        raise InputError(f"{source}: 'diffraction' is {shape}, expected (n, N, N, C) in a split")
    return int(shape[1])
