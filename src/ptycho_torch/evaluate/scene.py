"""The test scan and its truth, as read from the dataset's files and checked.

Letters: B patches (first channel of each group), M probe modes, I images, H rows, W columns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files import io
from ptycho_torch.files.checksums import must_have
from ptycho_torch.files.io import PathLike
from ptycho_torch.files.schemas import TileFacts, read_result
from ptycho_torch.physics.stitch import patch_positions, tile_extent
from ptycho_torch.physics.views import object_patches
from ptycho_torch.runtime.errors import InputError

Complex = NDArray[np.complex64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What predictions of the test split are compared with."""

    objects_IHW: Complex
    """True objects, un-normalised."""

    positions_B2: NDArray[np.int64]
    """Corners of the patches."""

    image_B: NDArray[np.int64]
    """Which image a patch shows."""

    probe_MHW: Complex
    """Probe modes."""

    norm: float
    """What object amplitudes were divided by."""

    tile_px: int
    """Side of the tile that a patch gives to the stitched image."""

    @property
    def intensity_HW(self) -> NDArray[np.float32]:
        """The probe's intensity, summed over modes."""
        total: NDArray[np.float32] = (np.abs(self.probe_MHW) ** 2).sum(axis=0)
        return total

    @property
    def truth_patches_BHW(self) -> Complex:
        """Noise-free patches, in units of `norm`, as a network predicts them."""
        side = self.probe_MHW.shape[-1]
        cut: Complex = object_patches(self.objects_IHW, self.positions_B2, self.image_B, side)
        return cut / np.float32(self.norm)

    def truth_IHW(self, trim_px: int) -> NDArray[np.complex128]:
        """Return the part of the objects that the tiles cover, less `trim_px` on each side."""
        extent = tile_extent(self.positions_B2, self.probe_MHW.shape[-1], self.tile_px)
        covered = self.objects_IHW[(slice(None), *extent)].astype(np.complex128)
        return trim(covered, trim_px)


def trim(images_IHW: NDArray[np.complex128], trim_px: int) -> NDArray[np.complex128]:
    """Cut `trim_px` from each side; `InputError` if nothing is left."""
    height, width = images_IHW.shape[1:]
    if min(height, width) <= 2 * trim_px:
        raise InputError(
            f"trim_px of {trim_px} leaves nothing of a stitched image of {height}x{width} px"
        )
    return images_IHW[:, trim_px : height - trim_px, trim_px : width - trim_px]


def read_scene(test: PathLike, dataset: PathLike) -> Scene:
    """Read `test.npz` and `dataset.json`.

    Raises
    ------
    InputError
        If a file lacks something, the split is not the one that `dataset.json` names, or positions
        and objects do not belong together.
    """
    facts = read_result(dataset, TileFacts)
    must_have(test, facts.get("splits", {}).get("test", {}).get("sha256"))
    arrays = io.read_npz(
        test, "coords_offsets", "coords_nominal", "image_index", "YY_full", "probeGuess", "norm_Y_I"
    )
    objects = arrays["YY_full"][..., 0]
    probe = arrays["probeGuess"]
    positions = patch_positions(arrays["coords_offsets"], arrays["coords_nominal"])
    image = arrays["image_index"].astype(np.int64)
    side = probe.shape[-1]
    inside = (positions + side <= objects.shape[1:3]).all()
    if (
        len(image) != len(positions)
        or set(image.tolist()) != set(range(len(objects)))
        or not inside
    ):
        raise InputError(
            f"{test}: {len(positions)} positions, {len(image)} image indices and "
            f"{len(objects)} objects of {objects.shape[1:3]} px do not belong together"
        )
    return Scene(
        objects_IHW=objects,
        positions_B2=positions,
        image_B=image,
        probe_MHW=probe.reshape(-1, side, side),
        norm=float(arrays["norm_Y_I"]),
        tile_px=int(facts["test_step_px"]),
    )


def read_predictions(path: PathLike, key: str, scene: Scene) -> Complex:
    """Return the predicted patches of the first channel, (B, H, W), in units of `norm`.

    Raises
    ------
    InputError
        If their number or size is not that of the test split.
    """
    patches = io.read_npz(path, key)[key]
    expected = (len(scene.positions_B2), *scene.probe_MHW.shape[-2:])
    if patches.ndim != 4 or patches.shape[:3] != expected:
        raise InputError(
            f"{path}: '{key}' is {patches.shape}, the test split needs {(*expected, 'C')}; "
            "it belongs to another dataset: train again"
        )
    return np.ascontiguousarray(patches[..., 0], dtype=np.complex64)
