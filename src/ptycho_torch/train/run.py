"""Train one run, on a study's splits or on a measured scan, in a folder of its own."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ptycho_torch.config.base import placed
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.hold_out import half_light_radius_px
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.training import TrainingData, data_of_scan, data_of_splits
from ptycho_torch.files import io
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.locks import run_lock
from ptycho_torch.train.checkpoint import CHECKPOINT
from ptycho_torch.train.fit import LOGS, fit
from ptycho_torch.train.module import PtychoModule
from ptycho_torch.train.record import write_results, write_statistics

logger = logging.getLogger(__name__)

OUTPUTS = ("run.json", "timing.json", "history.csv", "bundle", "last.safetensors")
OPTIONAL = ("test_patches.npz", "patch_stats.json", "patches.png", "objects.png")
"""Written where they are requested; an earlier run's would be taken for this one's."""


def train_run(
    run: RunSettings,
    *,
    splits: Mapping[str, io.PathLike],
    dataset: io.PathLike,
    folder: io.PathLike,
    threads: int,
    low_memory: bool = False,
) -> None:
    """Train one run of a study and predict the test split with its best and last weights.

    splits, dataset: as for `data_of_splits`, with its errors; folder: where the run's files go, and
    its checkpoint, from which the same call resumes until `forget_checkpoints`; low_memory: whether
    to checkpoint activations also where the run does not ask for it, which changes no number. A run
    that diverges raises nothing: it is written as a result.
    """
    torch.set_num_threads(usable_threads(threads))
    data = data_of_splits(splits, dataset, patch_px=run.patch_px)
    module, folder = PtychoModule(run, data), Path(folder)
    if low_memory and not module.checkpointed:
        logger.warning("low memory in this attempt: as with execution.checkpointing")
        module.save_memory()
    names = {"dataset": run.dataset, "arm": run.arm, "seed": run.seed}
    facts = {**names, "settings": run.model_dump(mode="json"), **data.facts}
    with _alone_in(folder):
        result = fit(module, data.train, data.validation, folder=folder)
        write_results(folder, result, data, facts)


def forget_checkpoints(folder: Path) -> None:
    """Remove what `train_run` would resume from, now or with other settings."""
    for path in folder.glob(CHECKPOINT):
        path.unlink()


def train_scan(
    data: TrainingData,
    settings: FitSettings,
    folder: io.PathLike,
    *,
    overwrite: bool = False,
    patch_stats_limit: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train on a measured scan and return what `run.json` says; a run that diverges is a result.

    folder: for `OUTPUTS`, `run.json` last; a training that was stopped resumes when it is called
    again with the same data, settings and folder. overwrite: replace an earlier run's files in it.
    patch_stats_limit: write statistics of at most so many patches that the best weights draw for
    the held-out frames (None: of none). progress: whether to draw a progress bar.

    Raises `InputError` if data and settings do not fit each other, or the folder holds another
    run's files.
    """
    torch.set_num_threads(usable_threads(settings.execution.threads))
    folder = Path(folder)
    with placed(f"{data.facts['source']}: "):
        module = PtychoModule(settings, data)
    with _alone_in(folder) as first:
        if first:
            files = (*OUTPUTS, LOGS)
            io.must_be_free(
                folder, mark=OUTPUTS[0], files=files, overwrite=overwrite, state=CHECKPOINT
            )
        result = fit(module, data.train, data.validation, folder=folder, progress=progress)
        # Gone first, written last: results that were torn off never look finished.
        for name in ("run.json", *OPTIONAL):
            (folder / name).unlink(missing_ok=True)
        if patch_stats_limit is not None:
            write_statistics(folder, result, data, patch_stats_limit)
        facts = {"settings": settings.model_dump(mode="json"), "data": data.facts}
        record = write_results(folder, result, data, facts)
        if result.checkpoint is not None:
            result.checkpoint.unlink(missing_ok=True)
    return record


def train_measurement(
    settings: FitSettings,
    *,
    frames: io.PathLike,
    rpie: io.PathLike,
    folder: io.PathLike,
) -> dict[str, Any]:
    """Train on the training frames of a study's measurement; see `train_scan`.

    rpie: `objects.npz` of the same frames' iterative reconstruction, whose refined probe the
    network sees; folder: an earlier run's files in it are replaced.
    """
    probe, used = io.read_npz(rpie, "train_probe")["train_probe"], settings
    scan = replace(read_scan(frames), probe_MHW=probe)
    if settings.gap_px is None:
        # The gap around the validation block is that around the frames held out.
        used = settings.model_copy(update={"gap_px": half_light_radius_px(probe)})
    data = data_of_scan(scan, used)
    data.facts["train_data"] = {"file": Path(frames).name, "sha256": io.sha256(frames)}
    return train_scan(data, settings, folder, overwrite=True)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Lock the folder in the first of the processes that share a run; yield whether it is it."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    with run_lock(folder) if first else contextlib.nullcontext():
        yield first
