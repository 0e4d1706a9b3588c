"""What one training sees, from simulated splits or from a measured scan: the same for both.

Letters: n groups, C frames of a group, M probe modes, H rows, W columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.config.scan import FitSettings, GroupSettings, ScanConventions
from ptycho_torch.data.batch import Batch, SplitScales, groups_of_scan, groups_of_split, scan_groups
from ptycho_torch.data.dataset_file import Split, read_split
from ptycho_torch.data.hold_out import hold_out, overlap_px
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.units import measured_units, probe_of, unit_of
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Groups for training and validation, and the constants that belong to them.

    test: patches are predicted for it after training, it never selects anything; probe_MHW: modes;
    scales: of `train` and `validation`; norm_Y_I: object amplitude = the patches' amplitude times
    this; facts: what `run.json` and the bundle say of the data.
    """

    train: Batch
    validation: Batch
    test: Batch | None = None
    probe_MHW: Tensor
    scales: dict[str, SplitScales]
    norm_Y_I: float = 1.0
    intensity_scale_source: Literal["measured", "given"] = "measured"
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_splits(cls, splits: Mapping[str, Split], facts: dict[str, Any] | None = None) -> Self:
        """Return the data of `train`, whose s is that of all, `validation` and perhaps `test`."""
        groups: dict[str, Any] = {name: groups_of_split(s) for name, s in splits.items()}
        train = splits["train"]
        return cls(
            **groups,
            probe_MHW=torch.from_numpy(train.probe_MHW.copy()),
            scales={n: groups[n].scales(train.intensity_scale) for n in groups if n != "test"},
            norm_Y_I=train.norm_Y_I,
            intensity_scale_source=train.intensity_scale_source,
            facts=facts or {},
        )


def data_of_splits(
    splits: Mapping[str, io.PathLike], dataset: io.PathLike, *, patch_px: int
) -> TrainingData:
    """Return the data of splits, whose patches have the side `patch_px` and whose checksums are in
    `dataset`, their `dataset.json`; `InputError` if one is damaged or another one."""
    record = io.read_json(dataset)
    checksums = {split: facts["sha256"] for split, facts in record["splits"].items()}
    photons = record["settings"].get("photons", 1e9)
    found = {
        name: read_split(path, patch_px=patch_px, sha256=checksums[name], photons=photons)
        for name, path in splits.items()
    }
    return TrainingData.of_splits(found, {"dataset_sha256": checksums})


def data_of_scan(scan: Scan, settings: FitSettings, test: Scan | None = None) -> TrainingData:
    """Return the data of one measured scan; a block of its frames is kept out and validates, of
    `test` patches are predicted. `InputError` if scans and settings do not fit each other."""
    probe, seed = probe_of(scan), settings.seed
    units = measured_units(scan, probe, settings.photons)
    gap = overlap_px(probe) if settings.gap_px is None else settings.gap_px
    held = hold_out(
        scan.positions_n2, fraction=settings.validation_fraction, gap_px=gap, seed=seed,
        source=scan.source,
    )  # fmt: skip

    def grouped(one: Scan, frames_n: NDArray[np.int64], unit: float, how: GroupSettings) -> Batch:
        return groups_of_scan(one, scan_groups(one, frames_n, how, seed=seed), unit)

    # As many groups as there are frames.
    every = settings.groups.model_copy(update={"n_images": None})
    groups: dict[str, Any] = {
        "train": grouped(scan, held.train, units.unit, settings.groups),
        "validation": grouped(scan, held.validation, units.unit, every),
    }
    if test is not None:
        if test.patch_px != scan.patch_px:
            raise InputError(
                f"{test.source}: frames are {test.patch_px} px, those trained on {scan.patch_px}"
            )
        if test.intensity_scale is None or units.source == "given":
            unit = measured_units(test, probe, settings.photons).unit
        else:
            unit = unit_of(test, units.intensity_scale)
        groups["test"] = grouped(test, np.arange(len(test)), unit, every)
    return TrainingData(
        **groups,
        probe_MHW=torch.from_numpy(probe),
        scales={n: groups[n].scales(units.intensity_scale) for n in groups if n != "test"},
        intensity_scale_source=units.source,
        facts={
            "source": Path(scan.source).name,
            "notes": list(scan.notes),
            "frames": len(scan),
            "train_frames": len(held.train),
            "validation_frames": held.validation.tolist(),
            "gap_frames": held.gap.tolist(),
            "gap_px": gap,
            "unit": units.unit,
        },
    )


def data_of_file(
    train_data: io.PathLike,
    settings: FitSettings = FitSettings(),  # noqa: B008 (frozen)
    *,
    test_data: io.PathLike | None = None,
    reading: ScanConventions = ScanConventions(),  # noqa: B008 (frozen)
) -> TrainingData:
    """Return the data of a file of measurements, read as `reading` says; see `data_of_scan`."""
    test = None if test_data is None else read_scan(test_data, reading)
    data = data_of_scan(read_scan(train_data, reading), settings, test)
    data.facts["reading"] = reading.model_dump(mode="json")
    for name, path in (("train_data", train_data), ("test_data", test_data)):
        if path is not None:
            data.facts[name] = {"file": Path(path).name, "sha256": io.sha256(path)}
    return data
