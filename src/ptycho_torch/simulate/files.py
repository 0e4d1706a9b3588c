"""Take in a dataset that another program wrote: checked, and written in this project's layout."""

import logging
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.dataset import DatasetFiles
from ptycho_torch.data.dataset_file import Split, read_split
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import patch_positions, stitch_tiles, tile_extent
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import SPLITS, split_facts, write_summary

logger = logging.getLogger(__name__)


def import_dataset(
    settings: DatasetFiles, *, name: str, splits: Mapping[str, str | Path], summary: str | Path
) -> None:
    """Write `train`, `validation` and `test` to the paths in `splits`, and `dataset.json`.

    `InputError` if a file cannot be used, two splits share their data, or the three differ in
    channels or probe; another intensity scale than the training split's is warned of.
    """
    read: dict[str, Split] = {}
    for split in SPLITS:
        path = getattr(settings, split)
        read[split] = read_split(
            path,
            patch_px=settings.patch_px,
            sha256=(settings.sha256 or {}).get(split),  # type: ignore[call-overload]
            photons=settings.photons,
        )
        _same_setup(path, read[split], read["train"])
    if not {"YY_full", "coords_offsets", "coords_nominal"} <= read["test"].arrays.keys():
        raise InputError(
            f"{settings.test}: the test split needs 'YY_full', 'coords_offsets' and "
            "'coords_nominal', or nothing can be scored"
        )
    _check_test_scan(settings, read["test"].arrays)
    _different_objects(settings, read)
    scale = read["train"].intensity_scale
    facts = {}
    for split in SPLITS:
        scales = {"norm_Y_I": read[split].norm_Y_I, "intensity_scale": scale}
        arrays = read[split].arrays | {key: np.array(value) for key, value in scales.items()}
        io.write_npz(splits[split], arrays)
        facts[split] = {**split_facts(arrays, splits[split]), "noise_floor": None}
    write_summary(summary, settings, name, settings.test_step_px, scale, facts)


def _check_test_scan(settings: DatasetFiles, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a test scan that cannot be stitched and scored, before anything is trained on it."""
    side, images = settings.patch_px, arrays["YY_full"]
    try:
        positions = patch_positions(arrays["coords_offsets"], arrays["coords_nominal"])
        rows, columns = tile_extent(positions, side, settings.test_step_px)
        patches = np.ones((len(positions), side, side), np.complex64)
        stitch_tiles(patches, positions, arrays["image_index"], settings.test_step_px)
    except InputError as error:
        raise InputError(f"{settings.test}: {error}") from None
    farthest = positions.max(axis=0) + side
    if (farthest > images.shape[1:3]).any():
        raise InputError(
            f"{settings.test}: patches reach to {tuple(farthest.tolist())} px, 'YY_full' has "
            f"{images.shape[1:3]} px"
        )
    if min(rows.stop - rows.start, columns.stop - columns.start) <= settings.test_step_px:
        raise InputError(f"{settings.test}: the test scan has one row or column of positions only")


def _different_objects(settings: DatasetFiles, read: Mapping[str, Split]) -> None:
    """Refuse splits that share their data: what selects a model must not see the test split."""
    for first, second in combinations(SPLITS, 2):
        one, other = (read[split].arrays for split in (first, second))
        for key in ("diffraction", "YY_full"):
            if key in one and key in other and np.array_equal(one[key], other[key]):
                raise InputError(
                    f"{getattr(settings, second)}: array '{key}' of the {second} split equals that "
                    f"of the {first} split, {getattr(settings, first)}; the three splits need "
                    "three different objects"
                )


def _same_setup(path: str, split: Split, train: Split) -> None:
    ours, theirs = (one.arrays["probeGuess"] for one in (train, split))
    channels, expected = (one.arrays["diffraction"].shape[-1] for one in (split, train))
    if channels != expected:
        raise InputError(f"{path}: has {channels} channels, the training split has {expected}")
    close = 1e-6 * float(np.abs(ours).max())
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-5, atol=close):
        raise InputError(f"{path}: its 'probeGuess' differs from the training split's")
    if not np.isclose(split.intensity_scale, train.intensity_scale, rtol=1e-3):
        logger.warning(
            "%s: intensity_scale %.6g, the training split's is %.6g and is used",
            path, split.intensity_scale, train.intensity_scale,
        )  # fmt: skip
