"""The training side of parity: what a run predicted on the test split, from the files it left.

Letters: n groups, C patches of a group, P = n C patches, I images, M probe modes, H rows, W columns
of a patch, Y rows, X columns of a stitched image, B the first patches of all groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scales import Scales
from ptycho_torch.files import io
from ptycho_torch.files.schemas import read_result
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.physics.stitch import (
    object_patches,
    patch_positions,
    reassemble,
    stitch_tiles,
    tile_extent,
)
from ptycho_torch.runtime.errors import InputError

Complex = NDArray[np.complexfloating]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestScan:
    """Where the test split's patches lie, and what they should show.

    corners_nC2: of all patches; positions_B2, image_B: of the first of each group; light_HW: probe
    intensity; tile_px: side of a central tile; objects_IYX: the truth.
    """

    corners_nC2: NDArray[np.float64]
    positions_B2: NDArray[np.int64]
    image_B: NDArray[np.int64]
    light_HW: NDArray[np.float64]
    tile_px: int
    objects_IYX: Complex

    @classmethod
    def read(cls, test: io.PathLike, dataset: io.PathLike) -> "TestScan":
        """Read `test.npz` and `dataset.json`; `InputError` if one lacks something."""
        keys = ("coords_offsets", "coords_nominal", "image_index", "YY_full", "probeGuess")
        offsets, nominal, image, objects, probe = io.read_npz(test, *keys).values()
        probe = probe.reshape(-1, *probe.shape[-2:])
        return cls(
            corners_nC2=np.swapaxes((offsets + nominal)[:, 0].astype(np.float64), 1, 2),
            positions_B2=patch_positions(offsets, nominal),
            image_B=image.astype(np.int64),
            light_HW=np.square(np.abs(probe)).sum(axis=0).astype(np.float64),
            tile_px=int(read_result(dataset, "tiles")["test_step_px"]),
            objects_IYX=objects[..., 0],
        )

    def by_tiles(self, patches_BHW: Complex) -> NDArray[np.complex128]:
        """Return the images stitched from central tiles, (I, Y, X)."""
        return stitch_tiles(patches_BHW, self.positions_B2, self.image_B, self.tile_px)

    def by_patches(self, patches_BHW: Complex) -> NDArray[np.complex128]:
        """Return the images of whole patches weighted by the light, (I, Y, X), of the same part."""
        places = (self.positions_B2, self.image_B)
        return reassemble(patches_BHW, *places, self.light_HW, self.tile_px)

    def truth_BHW(self) -> Complex:
        """Return noise-free patches of the object."""
        side = self.light_HW.shape[-1]
        return object_patches(self.objects_IYX, self.positions_B2, self.image_B, side)


def training_dump(
    scan: TestScan, *, run: io.PathLike, dataset: io.PathLike, patches: io.PathLike
) -> Dump:
    """Return what training predicted with its best weights, and the scales of its module.

    Parameters
    ----------
    scan
        Of `read_test_scan`.
    run, dataset, patches
        `run.json`, `dataset.json`, `test_patches.npz`.

    Raises
    ------
    InputError
        If a file lacks something, or the patches are not the test split's.
    """
    record, facts = io.read_json(run), io.read_json(dataset)
    patches_nCHW = np.moveaxis(io.read_npz(patches, "best")["best"], -1, 1)
    expected = (*scan.corners_nC2.shape[:2], *scan.light_HW.shape)
    if patches_nCHW.shape != expected:
        raise InputError(
            f"{patches}: 'best' holds {patches_nCHW.shape} groups, patches and pixels, the test "
            f"split {expected}; it belongs to another dataset: train again"
        )
    try:
        learned = record["settings"]["training"]["intensity_scale"] == "learned"
        scales = Scales(
            input_scale=record["input_scale"],
            intensity_scale=record["intensity_scale"]["best"],
            intensity_scale_source="learned" if learned else "of the training data",
            norm_Y_I=facts["splits"]["train"]["norm_Y_I"],
        )
    except KeyError as error:
        raise InputError(f"{run} or {dataset}: lacks {error}; make it again") from None
    part = tile_extent(scan.positions_B2, len(scan.light_HW), scan.tile_px)
    whole = scan.by_patches(patches_nCHW[:, 0]) * (scales.norm_Y_I or 1.0)
    return Dump(
        stitched_IYX=whole.astype(np.complex64),
        made_by=f"training of {record['arm']}, seed {record['seed']}, on {record['dataset']}: its "
        "best weights on the test split",
        scales=scales,
        origin_2=np.array([part[0].start, part[1].start], np.float64),
        patches_PHW=patches_nCHW.reshape(-1, *scan.light_HW.shape),
        positions_P2=scan.corners_nC2.reshape(-1, 2),
        image_P=np.repeat(scan.image_B, expected[1]),
        source=str(patches),
    )
