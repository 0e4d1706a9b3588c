"""The ground truth of a test scan, as read from the dataset's files.

Letters: B patches (first channel of each group), M probe modes, I images, H rows, W columns.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files import io
from ptycho_torch.physics.stitch import object_patches, patch_positions, tile_extent
from ptycho_torch.runtime.errors import InputError

Complex = NDArray[np.complex64]


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """What predictions of the test split are compared with.

    Objects are un-normalised; positions are corners of the patches, whole pixels; image_B: which
    image a patch shows; norm: what object amplitudes were divided by; tile_px: side of the tile
    that a patch gives to the stitched image.
    """

    objects_IHW: Complex
    positions_B2: NDArray[np.int64]
    image_B: NDArray[np.int64]
    probe_MHW: Complex
    norm: float
    tile_px: int

    @cached_property
    def patches_BHW(self) -> Complex:
        """Noise-free patches, in units of `norm`, as a network predicts them."""
        side = self.probe_MHW.shape[-1]
        cut: Complex = object_patches(self.objects_IHW, self.positions_B2, self.image_B, side)
        return cut / np.float32(self.norm)

    def images_IHW(self, trim_px: int) -> NDArray[np.complex128]:
        """Return the part of the objects that the tiles cover, less `trim_px` on each side."""
        extent = tile_extent(self.positions_B2, self.probe_MHW.shape[-1], self.tile_px)
        return trim(self.objects_IHW[(slice(None), *extent)].astype(np.complex128), trim_px)


def trim(images_IHW: NDArray[np.complex128], trim_px: int) -> NDArray[np.complex128]:
    """Cut `trim_px` from each side; `InputError` if nothing is left."""
    height, width = images_IHW.shape[1:]
    if min(height, width) <= 2 * trim_px:
        raise InputError(
            f"trim_px of {trim_px} leaves nothing of a stitched image of {height}x{width} px"
        )
    return images_IHW[:, trim_px : height - trim_px, trim_px : width - trim_px]


def read_truth(test: io.PathLike, dataset: io.PathLike) -> GroundTruth:
    """Read `test.npz` and `dataset.json`; `InputError` if a file lacks something, or the split is
    not the one that `dataset.json` names."""
    facts = io.read_json(dataset)
    io.must_have(test, facts.get("splits", {}).get("test", {}).get("sha256"))
    arrays = io.read_npz(
        test, "coords_offsets", "coords_nominal", "image_index", "YY_full", "probeGuess", "norm_Y_I"
    )
    objects, probe = arrays["YY_full"][..., 0], arrays["probeGuess"]
    return GroundTruth(
        objects_IHW=objects,
        positions_B2=patch_positions(arrays["coords_offsets"], arrays["coords_nominal"]),
        image_B=arrays["image_index"].astype(np.int64),
        probe_MHW=probe.reshape(-1, *probe.shape[-2:]),
        norm=float(arrays["norm_Y_I"]),
        tile_px=int(facts["test_step_px"]),
    )


def read_predictions(path: io.PathLike, key: str, truth: GroundTruth) -> Complex:
    """Return the predicted patches of the first channel, (B, H, W), in units of `norm`;
    `InputError` if their number or size is not that of the test split."""
    patches = io.read_npz(path, key)[key]
    expected = (len(truth.positions_B2), *truth.probe_MHW.shape[-2:])
    if patches.ndim != 4 or patches.shape[:3] != expected:
        raise InputError(
            f"{path}: '{key}' is {patches.shape}, the test split needs {(*expected, 'C')}; "
            "it belongs to another dataset: train again"
        )
    return np.ascontiguousarray(patches[..., 0], dtype=np.complex64)
