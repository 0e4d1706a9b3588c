"""Train on one measured scan and write the run's files (docs/inference.md, docs/files.md).

Letters: n groups, C frames of a group, M probe modes, H rows, W columns.
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from ptycho_torch.config.base import mistake
from ptycho_torch.config.scan import FitSettings, ScanConventions
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Groups, groups_of_scan
from ptycho_torch.data.groups import scan_groups
from ptycho_torch.data.hold_out import HeldOut, hold_out, overlap_px
from ptycho_torch.data.patch_statistics import write_patch_statistics
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scales import Scales
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.units import Units, measured_units, probe_of, unit_of
from ptycho_torch.files import io
from ptycho_torch.files.output_folder import claim, untouched_if_refused
from ptycho_torch.networks.bundle import write_bundle
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.run_lock import run_lock
from ptycho_torch.train.curve import draw_learning_curve
from ptycho_torch.train.fit import make_module
from ptycho_torch.train.loop import Fitted, fit, predict
from ptycho_torch.train.record import history_columns, make_bundle, run_record, timing
from ptycho_torch.train.resume import STATE

logger = logging.getLogger(__name__)

OUTPUTS = (
    *("run.json", "timing.json", "history.csv", "bundle", "last.safetensors"),
    *("learning_curve.png", "learning_curve.svg"),
)
OPTIONAL = ("test_patches.npz", "patch_stats.json", "patches.png")
"""Written where they are asked for; an earlier run's would be taken for this one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A scan made ready for training."""

    run: RunSettings
    units: Units
    probe_MHW: NDArray[np.complex64]
    kept: HeldOut
    gap_px: float
    train: Groups
    validation: Groups
    members_nC: NDArray[np.int64]
    """Which frames form each training group."""


def train_scan(
    scan: Scan,
    settings: FitSettings,
    output_dir: io.PathLike,
    *,
    test: Scan | None = None,
    sources: dict[str, Any] | None = None,
    overwrite: bool = False,
    patch_stats_limit: int | None = None,
) -> dict[str, Any]:
    """Train on a scan; a run that diverges is a result.

    A training that was stopped goes on when it is called again with the same scan, settings and
    folder.

    Parameters
    ----------
    scan
        Training data; a block of its frames is kept out and validates.
    settings
        Everything that decides the run.
    output_dir
        Folder for `OUTPUTS`; `run.json` is written last.
    test
        A scan whose patches are predicted after training; it never selects anything.
    sources
        What else `run.json` and the bundle say of where the data come from (JSON).
    overwrite
        Replace an earlier run's files in the folder.
    patch_stats_limit
        Statistics of at most so many patches that the best weights draw for the held-out frames
        go beside the results; None: none are worked out.

    Returns
    -------
    dict
        What `run.json` says.

    Raises
    ------
    InputError
        If scan and settings do not fit each other, or the folder holds another run's files.
    """
    torch.set_num_threads(usable_threads(settings.execution.threads))
    ready = prepare(scan, settings)
    tested = None if test is None else _test_groups(test, ready, settings)
    scales = {
        "train": ready.train.scales(ready.units.intensity_scale),
        "validation": ready.validation.scales(ready.units.intensity_scale),
    }
    scaled = settings.training.input_scaling == "statistical"
    module = make_module(
        ready.run,
        {"train": ready.train, "validation": ready.validation},
        scales,
        probe_MHW=torch.from_numpy(ready.probe_MHW),
        input_scale=scan.patch_px / 2 / ready.train.power() ** 0.5 if scaled else 1.0,
    )
    take = partial(claim, mark="run.json", files=OUTPUTS, overwrite=overwrite, state=STATE)
    folder = take(output_dir)
    with untouched_if_refused(folder), run_lock(folder):
        # Whoever was at work here may have ended.
        take(folder)
        keep = folder / STATE
        fitted = fit(module, ready.train, ready.validation, keep=keep)
        facts = {
            "settings": settings.model_dump(mode="json"),
            "data": {**(sources or {}), **_data_facts(scan, ready)},
        }
        # Gone first, written last: results that were torn off never look finished.
        for name in ("run.json", *OPTIONAL):
            (folder / name).unlink(missing_ok=True)
        if patch_stats_limit is not None:
            _write_statistics(folder, fitted, ready, patch_stats_limit)
        record = _write(folder, fitted, ready, tested, facts)
        keep.unlink(missing_ok=True)
    return record


def train_file(
    train_data: io.PathLike,
    settings: FitSettings,
    output_dir: io.PathLike,
    *,
    test_data: io.PathLike | None = None,
    reading: ScanConventions = ScanConventions(),  # noqa: B008 (frozen)
    overwrite: bool = False,
    patch_stats_limit: int | None = None,
) -> dict[str, Any]:
    """Train on a file of measurements, read as `reading` says; see `train_scan`."""
    sources = {
        "train_data": {"file": Path(train_data).name, "sha256": io.sha256(train_data)},
        "reading": reading.model_dump(mode="json"),
    }
    scan = read_scan(train_data, reading)
    test = None
    if test_data is not None:
        test = read_scan(test_data, reading)
        sources["test_data"] = {"file": Path(test_data).name, "sha256": io.sha256(test_data)}
    return train_scan(
        scan,
        settings,
        output_dir,
        test=test,
        sources=sources,
        overwrite=overwrite,
        patch_stats_limit=patch_stats_limit,
    )


def prepare(scan: Scan, settings: FitSettings) -> Prepared:
    """Return a scan's units, its frames for training and validation, and their groups.

    Raises
    ------
    InputError
        As `train_scan`.
    """
    try:
        run = settings.run(scan.patch_px)
    except ValidationError as error:
        raise mistake(scan.source, error) from None
    probe = probe_of(scan)
    units = measured_units(scan, probe, settings.photons)
    gap = overlap_px(probe) if settings.gap_px is None else settings.gap_px
    kept = hold_out(
        scan.positions_n2,
        fraction=settings.validation_fraction,
        gap_px=gap,
        seed=settings.seed,
        source=scan.source,
    )
    logger.info(
        "%s: %d frames train, %d in one block validate, %d within %.3g px of it are left out",
        scan.source, len(kept.train), len(kept.validation), len(kept.gap), gap,
    )  # fmt: skip
    members = scan_groups(scan, kept.train, settings.groups, seed=settings.seed)
    every = settings.groups.model_copy(update={"n_images": None})
    checks = scan_groups(scan, kept.validation, every, seed=settings.seed)
    return Prepared(
        run=run,
        units=units,
        probe_MHW=probe,
        kept=kept,
        gap_px=gap,
        train=groups_of_scan(scan, members, units.unit),
        validation=groups_of_scan(scan, checks, units.unit),
        members_nC=members,
    )


def _test_groups(test: Scan, ready: Prepared, settings: FitSettings) -> Groups:
    if test.patch_px != ready.run.patch_px:
        raise InputError(
            f"{test.source}: frames are {test.patch_px} px, those trained on {ready.run.patch_px}"
        )
    every = settings.groups.model_copy(update={"n_images": None})
    members = scan_groups(test, np.arange(len(test)), every, seed=settings.seed)
    if test.intensity_scale is None or ready.units.source == "closed_form":
        unit = measured_units(test, ready.probe_MHW, settings.photons).unit
    else:
        unit = unit_of(test, ready.units.intensity_scale)
    return groups_of_scan(test, members, unit)


def _data_facts(scan: Scan, ready: Prepared) -> dict[str, Any]:
    return {
        "source": Path(scan.source).name,
        "notes": list(scan.notes),
        "frames": len(scan),
        "patch_px": scan.patch_px,
        "train_frames": len(ready.kept.train),
        "train_groups": len(ready.train),
        "validation_frames": ready.kept.validation.tolist(),
        "gap_frames": ready.kept.gap.tolist(),
        "gap_px": ready.gap_px,
        "unit": ready.units.unit,
        "intensity_scale_source": ready.units.source,
    }


def _write_statistics(folder: Path, fitted: Fitted, ready: Prepared, limit: int) -> None:
    drawn = np.moveaxis(predict(fitted.module, fitted.best, ready.validation, fitted.device), -1, 1)
    scales = Scales(
        input_scale=fitted.module.input_scale,
        intensity_scale=ready.units.intensity_scale * fitted.best.gain,
        intensity_scale_source=ready.units.source if fitted.module.log_gain is None else "learned",
        norm_Y_I=1.0,
    )
    write_patch_statistics(
        folder,
        drawn.reshape(-1, *drawn.shape[-2:]),
        scales,
        limit=limit,
        made_by=f"training on {ready.run.dataset}, best weights, held-out frames",
    )


def _write(
    folder: Path, fitted: Fitted, ready: Prepared, test: Groups | None, facts: dict[str, Any]
) -> dict[str, Any]:
    bundle = make_bundle(fitted, norm=1.0, source=ready.units.source, record=facts)
    write_bundle(folder / "bundle", bundle)
    io.write_tensors(folder / "last.safetensors", fitted.last.weights)
    record = {**facts, **run_record(fitted)}
    if test is not None:
        patches = {
            name: predict(fitted.module, weights, test, fitted.device)
            for name, weights in (("best", fitted.best), ("last", fitted.last))
        }
        io.write_npz(folder / "test_patches.npz", patches)
    rows = pd.DataFrame(fitted.history.rows, columns=history_columns(ready.run))
    io.write_csv(folder / "history.csv", rows)
    draw_learning_curve(rows, folder, loss=ready.run.training.loss, title=ready.run.dataset)
    io.write_json(folder / "timing.json", timing(fitted))
    io.write_json(folder / "run.json", record)
    return record
