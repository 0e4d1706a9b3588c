"""Fit one arm at one seed, or at several at once, and write each run's files (docs/files.md).

Letters: M probe modes, H rows, W columns.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Groups, groups_of_split
from ptycho_torch.data.dataset_file import Split, read_split
from ptycho_torch.data.split_scales import SplitScales, probe_tensor, statistical_input_scale
from ptycho_torch.files import io
from ptycho_torch.files.schemas import DatasetFacts, read_result
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import write_bundle
from ptycho_torch.networks.checkpointing import recompute_parts
from ptycho_torch.runtime.atomic_write import remove_leftovers
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.run_lock import run_lock
from ptycho_torch.runtime.streams import named_seed
from ptycho_torch.train.loop import Fitted, fit_seeds, predict
from ptycho_torch.train.module import FitModule
from ptycho_torch.train.record import history_columns, make_bundle, run_record, timing
from ptycho_torch.train.resume import STATE

logger = logging.getLogger(__name__)

PathLike = str | Path


def fit_run(
    run: RunSettings,
    *,
    splits: Mapping[str, PathLike],
    dataset: PathLike,
    outputs: Mapping[str, PathLike],
    threads: int,
) -> None:
    """Train one run and predict the test split with its best and last weights.

    Parameters
    ----------
    run
        Everything that decides the run.
    splits
        Paths of `train`, `validation` and `test`; the test split is opened after training.
    dataset
        `dataset.json`, whose checksums the splits must have.
    outputs
        Paths of `run`, `timing`, `history`, `bundle` (the `bundle.json` in a folder that takes the
        weights as well), `last` and `patches`.
    threads
        CPU threads that torch may use, at most the machine's.

    Raises
    ------
    InputError
        If a file is damaged or not the one that `dataset.json` names. A run that diverges
        raises nothing: it is written as a result.
    """
    fit_runs([run], splits=splits, dataset=dataset, outputs=[outputs], threads=threads)


def fit_runs(
    runs: Sequence[RunSettings],
    *,
    splits: Mapping[str, PathLike],
    dataset: PathLike,
    outputs: Sequence[Mapping[str, PathLike]],
    threads: int,
    spare_memory: bool = False,
) -> None:
    """Train runs that differ in their seeds alone, all at once, and write each one's files.

    Beside the first run's files stands the state of the training, until all are written; the same
    call goes on from it. Parameters and errors as for `fit_run`, but for `runs`, the `outputs` of
    each, and `spare_memory`: whether to checkpoint also where the runs do not ask for it, which is
    said and changes no number.
    """
    torch.set_num_threads(usable_threads(threads))
    folders = [Path(files["run"]).parent for files in outputs]
    with run_lock(folders[0]):
        facts = read_result(dataset, DatasetFacts)
        train, validation = (_read(s, splits, facts, runs[0]) for s in ("train", "validation"))
        modules = [build_module(run, train, validation) for run in runs]
        if spare_memory:
            checkpoint_all(modules)
        keep = folders[0] / STATE
        for path in (keep, *(path for files in outputs for path in files.values())):
            remove_leftovers(path)
        fits = fit_seeds(modules, groups_of_split(train), groups_of_split(validation), keep=keep)
        test = groups_of_split(_read("test", splits, facts, runs[0]))
        checksums = {split: facts["splits"][split]["sha256"] for split in facts["splits"]}
        for fitted, files in zip(fits, outputs, strict=True):
            _write(fitted, files, train, test, {"dataset_sha256": checksums})
        keep.unlink(missing_ok=True)


def _write(
    fitted: Fitted,
    outputs: Mapping[str, PathLike],
    train: Split,
    test: Groups,
    data: Mapping[str, Any],
) -> None:
    run = fitted.module.run
    patches: dict[str, NDArray[np.complex64]] = {}
    for name, weights in (("best", fitted.best), ("last", fitted.last)):
        began = time.monotonic()
        patches[name] = predict(fitted.module, weights, test, fitted.device)
        inference_s = time.monotonic() - began  # The second counts: the first also warms up.
    settings = run.model_dump(mode="json")
    bundle = make_bundle(
        fitted,
        norm=train.norm_Y_I,
        source=train.intensity_scale_source,
        record={"run": settings, **data},
    )
    write_bundle(Path(outputs["bundle"]).parent, bundle)
    io.write_tensors(outputs["last"], fitted.last.weights)
    io.write_npz(outputs["patches"], patches)
    rows = pd.DataFrame(fitted.history.rows, columns=history_columns(run))
    io.write_csv(outputs["history"], rows)
    io.write_json(outputs["timing"], timing(fitted, inference_s))
    names = {"dataset": run.dataset, "arm": run.arm, "seed": run.seed}
    record = {**names, "settings": settings, **data, **run_record(fitted)}
    io.write_json(outputs["run"], record)


def build_module(run: RunSettings, train: Split, validation: Split) -> FitModule:
    """Return the module of a run before training; weights depend on the run's seed alone."""
    scaled = run.training.input_scaling == "statistical"
    return make_module(
        run,
        {"train": groups_of_split(train), "validation": groups_of_split(validation)},
        {"train": SplitScales.of(train), "validation": SplitScales.of(validation)},
        probe_MHW=probe_tensor(train),
        input_scale=statistical_input_scale(train) if scaled else 1.0,
    )


def make_module(
    run: RunSettings,
    groups: Mapping[str, Groups],
    scales: Mapping[str, SplitScales],
    *,
    probe_MHW: Tensor,
    input_scale: float,
) -> FitModule:
    """Return the module for `train` and `validation` groups, each with its constants.

    Raises
    ------
    InputError
        If the network cannot be built for them, or they have no positions to be merged by.
    """
    channels = groups["train"].channels
    merges = run.training.object_big and channels > 1
    if merges and any(split.whole_nC2 is None for split in groups.values()):
        raise InputError(
            f"dataset '{run.dataset}': has groups of {channels} frames but no 'coords_offsets' "
            "and 'coords_nominal' to merge them by; add them, or set training.object_big: false"
        )
    try:
        network = build_generator(
            run.generator,
            channels=channels,
            patch_px=run.patch_px,
            seed=named_seed(run.seed, "weights"),
        )
    except ValueError as error:
        raise InputError(f"arms.{run.arm}.generator: {error}") from None
    if run.execution.checkpointing:
        recompute_parts(network)
    return FitModule(
        run, network, probe_MHW=probe_MHW, scales=dict(scales), input_scale=input_scale
    )


def checkpoint_all(modules: Sequence[FitModule]) -> None:
    """Let networks work out anew in the backward pass what they need for it; say so."""
    if len(modules) > 1:
        logger.warning("memory cannot be spared: seeds that are trained together exclude it")
        return
    for module in modules:
        if not module.checkpointed:
            logger.warning("memory is spared in this attempt: as with execution.checkpointing")
            recompute_parts(module.network)
            module.checkpointed = True


def _read(
    split: str, paths: Mapping[str, PathLike], facts: dict[str, Any], run: RunSettings
) -> Split:
    checksum = facts["splits"][split]["sha256"]
    return read_split(paths[split], patch_px=run.patch_px, sha256=checksum)
