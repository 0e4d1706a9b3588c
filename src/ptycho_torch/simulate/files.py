"""Take in a dataset that another program wrote: checked, and written in this project's layout."""

import logging
from collections.abc import Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.dataset import DatasetFiles
from ptycho_torch.data.dataset_file import Split, read_split
from ptycho_torch.data.units import normalisation, normalise
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import patch_positions, stitch_tiles
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import SPLITS, write_split, write_summary

logger = logging.getLogger(__name__)

# A probe in single precision, and power within photon noise, are those of the convention.
_SAME, _SAME_POWER = 1e-4, 0.05


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
            photons=settings.photons,
            reading=settings.reading,
        )
        _check_setup(path, read[split], read["train"])
    _check_test_scan(settings, read["test"])
    _check_independence(settings, read)
    probe, unit = _normalised(settings, read)
    train = read["train"]
    known, scale = train.intensity_scale_source == "measured", train.intensity_scale * unit
    facts = {}
    for split, one in read.items():
        arrays = one.arrays | {"probeGuess": probe, "norm_Y_I": np.array(one.norm_Y_I)}
        arrays["diffraction"] = arrays["diffraction"] / np.float32(unit)
        arrays.pop("intensity_scale", None)
        if known:  # What was given is kept apart from what the files say.
            arrays["intensity_scale"] = np.array(scale)
        facts[split] = {**write_split(splits[split], arrays), "noise_floor": None}
        facts[split]["source_sha256"] = io.sha256(getattr(settings, split))
    step_px = settings.test_step_px
    write_summary(
        summary, settings, name, test_step_px=step_px, intensity_scale=scale, splits=facts
    )


def _check_setup(path: str, split: Split, train: Split) -> None:
    """Refuse channels or a probe that are not the training split's."""
    channels, expected = (one.arrays["diffraction"].shape[-1] for one in (split, train))
    if channels != expected:
        raise InputError(f"{path}: has {channels} channels, the training split has {expected}")
    ours, theirs = (one.arrays["probeGuess"] for one in (train, split))
    close = 1e-6 * float(np.abs(ours).max())
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-5, atol=close):
        raise InputError(f"{path}: its 'probeGuess' differs from the training split's")
    if not np.isclose(split.intensity_scale, train.intensity_scale, rtol=1e-3):
        logger.warning(
            "%s: intensity_scale %.6g, the training split's is %.6g and is used",
            path, split.intensity_scale, train.intensity_scale,
        )  # fmt: skip


def _check_test_scan(settings: DatasetFiles, test: Split) -> None:
    """Refuse a test scan that cannot be stitched and scored, before anything is trained on it."""
    arrays = test.arrays
    try:
        if (patches := test.true_patches()) is None:
            raise InputError("has no 'YY_full', or no positions; nothing could be scored")
        positions = patch_positions(arrays["coords_offsets"], arrays["coords_nominal"])
        stitch_tiles(patches[:, 0], positions, arrays["image_index"], settings.test_step_px)
    except ValueError as error:
        raise InputError(f"{settings.test}: {error}") from None


def _check_independence(settings: DatasetFiles, read: Mapping[str, Split]) -> None:
    """Refuse splits that share their data: what selects a model must not see the test split."""
    for (first, second), key in product(combinations(SPLITS, 2), ("diffraction", "YY_full")):
        one, other = (read[split].arrays.get(key) for split in (first, second))
        if one is not None and other is not None and np.array_equal(one, other):
            raise InputError(
                f"{getattr(settings, second)}: array '{key}' of the {second} split equals that of "
                f"the {first} split; the three splits need three different objects"
            )


def _normalised(settings: DatasetFiles, read: Mapping[str, Split]) -> tuple[NDArray[Any], float]:
    """Return the normalised probe, and the unit of the amplitudes that it and the objects explain.

    Files whose probe is normalised, and explains their power, stay as they are.
    """
    probe = read["train"].arrays["probeGuess"]
    if abs((divisor := normalisation(probe)) - 1) > _SAME:
        probe = normalise(probe).astype(np.complex64)
    # The first split that has its truth; the test split does.
    one, patches = next((s, p) for s in read.values() if (p := s.true_patches()) is not None)
    modes = np.abs(probe.reshape(-1, *probe.shape[-2:]))
    light = np.square(modes).sum(axis=0) * np.square(np.abs(patches / one.norm_Y_I))
    power = np.square(one.arrays["diffraction"], dtype=np.float64).sum(axis=(1, 2))
    unit = float(np.sqrt(power.mean() / light.sum((-2, -1)).mean()))
    if abs(unit - 1) <= _SAME_POWER:
        unit = 1.0
    if unit != 1 or divisor != 1:
        logger.info(
            "%s: probe divided by %.6g, amplitudes by %.6g (docs/reference/physics.md)",
            settings.train, divisor, unit,
        )  # fmt: skip
    return probe, unit
