"""What a step takes: weights are counted, memory and time measured on noise."""

import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from ptycho_torch.config.dataset import Dataset, DatasetFiles
from ptycho_torch.config.training import ConstantSchedule, RunSettings
from ptycho_torch.data.batch import Batch, SplitScales
from ptycho_torch.data.module import EVAL_BATCH
from ptycho_torch.data.training import TrainingData
from ptycho_torch.files import io
from ptycho_torch.networks import build_generator, count_flops, count_parameters
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.memory import process_peak, shortage
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule

SPLITS = ("train", "validation", "test")
MIB = 2**20


@dataclass(frozen=True)
class Workload:
    """Sizes of a dataset; groups: of each split; reach_px: how far the patches of a group lie apart
    along an axis."""

    patch_px: int
    channels: int
    groups: dict[str, int]
    reach_px: int


def workload_of(data: Dataset) -> Workload:
    """Return the sizes of a dataset, which need not exist yet if it is simulated; `InputError` if
    files that it is made from cannot be read."""
    if isinstance(data, DatasetFiles):
        sizes = {split: _of_file(getattr(data, split)) for split in SPLITS}
        groups = {split: size[0] for split, size in sizes.items()}
        return Workload(data.patch_px, sizes["train"][1], groups, sizes["train"][2])
    scan = data.scan
    steps = dict.fromkeys(SPLITS, scan.test_step_px) | {"train": scan.train_step_px}
    groups = {s: data.images_per_split * data.groups_per_image(steps[s]) for s in SPLITS}
    reach = scan.group_offset_px if scan.gridsize == 2 else 0
    return Workload(data.patch_px, scan.gridsize**2, groups, reach)


def _of_file(path: str) -> tuple[int, int, int]:
    arrays, _ = io.read_npz_known(path, "diffraction", "coords_nominal")
    frames, places = arrays.get("diffraction"), arrays.get("coords_nominal")
    if frames is None or frames.ndim != 4:
        raise InputError(f"{path}: has no array 'diffraction' of shape (n, N, N, C)")
    reach = 0 if places is None else int(np.ptp(places, axis=-1).max())
    return len(frames), frames.shape[3], reach


def counts(run: RunSettings, work: Workload) -> dict[str, Any]:
    """Count a network's `parameters`, and the `flops_per_step` of its convolutions and products."""
    side = work.patch_px
    network = build_generator(run.generator, channels=work.channels, patch_px=side, seed=0)
    flops = count_flops(network, (run.training.batch_size, work.channels, side, side))
    return {"parameters": count_parameters(network), "flops_per_step": flops}


def alike(run: RunSettings, work: Workload) -> str:
    """Return what decides how long a run's steps take: neither rates nor bounds of clipping do."""
    run = _for_a_probe(run).model_copy(update={"arm": "", "seed": 0, "dataset": ""})
    settings = run.model_dump(exclude={"execution": {"clip"}})
    return f"{settings} {run.execution.clip.gradient_clip_algorithm} {work}"


def _for_a_probe(run: RunSettings) -> RunSettings:
    """Return settings of which noise teaches nothing, and does not end the run either."""
    optimizer = run.training.optimizer.model_copy(update={"learning_rate": 1e-12})
    once = {"epochs": 1, "schedule": ConstantSchedule(name="constant"), "optimizer": optimizer}
    blocks = {
        "training": run.training.model_copy(update=once),
        "execution": run.execution.model_copy(update={"devices": 1}),
    }
    return run.model_copy(update=blocks)


def measure(run: RunSettings, work: Workload, steps: int) -> dict[str, float] | None:
    """Return what `train_on_noise` does, in a process of its own; None if memory ran out there."""
    server = get_context("forkserver")
    server.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=server) as process:
        try:
            return process.submit(train_on_noise, run, work, steps).result()
        except Exception as error:
            # A pool breaks where the system kills its process, most likely for want of memory.
            if isinstance(error, BrokenProcessPool) or shortage(error) is not None:
                return None
            raise


class _TimedModule(PtychoModule):
    """Notes when each step begins."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.began = [*getattr(self, "began", ()), _now()]


def train_on_noise(run: RunSettings, work: Workload, steps: int) -> dict[str, float]:
    """Train a run for some steps, after one that is not timed; return the seconds of a `step` and
    a `validation_batch`, and `memory_mib`, what it took at most here, or of a GPU's memory."""
    before = process_peak()
    torch.set_num_threads(usable_threads(run.execution.threads))
    run = _for_a_probe(run)
    data = TrainingData(
        train=_noise(work, (steps + 2) * run.training.batch_size),
        validation=_noise(work, min(EVAL_BATCH, work.groups["validation"])),
        probe_MHW=torch.ones(1, work.patch_px, work.patch_px) + 0j,
        scales=dict.fromkeys(("train", "validation"), SplitScales(100.0, 0.5, 3000.0)),
    )
    module = _TimedModule(run, data)
    device = fit(module, data.train, data.validation).device
    module.to(device).eval()
    began, batch = _now(), data.validation.to(device).take(slice(None))
    with torch.no_grad():
        module.validation_losses(batch)
    checked, memory = _now() - began, process_peak() - before
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    step = statistics.median(np.diff(module.began)[1:].tolist())
    return {"step": step, "validation_batch": checked, "memory_mib": memory / MIB}


def _noise(work: Workload, count: int) -> Batch:
    amplitude = torch.rand(count, work.channels, work.patch_px, work.patch_px)
    if work.channels == 1:
        return Batch(amplitude)
    places = torch.zeros(count, work.channels, 2, dtype=torch.int64)
    places[:, -1] = work.reach_px
    return Batch(amplitude, places)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
