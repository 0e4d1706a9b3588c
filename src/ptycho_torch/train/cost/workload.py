"""What a run will see, by its sizes alone, and made-up data of these sizes."""

from dataclasses import dataclass

import numpy as np
import torch

from ptycho_torch.config.dataset import Dataset, DatasetFiles, FileProbe
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Groups, SplitScales
from ptycho_torch.data.training import TrainingData
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.module import PtychoModule

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sizes of a dataset: side of a patch, patches of a group, groups of each split, how far the
    patches of a group lie apart along an axis, modes of the probe."""

    patch_px: int
    channels: int
    groups: dict[str, int]
    reach_px: int
    probe_modes: int = 1


def workload_of(data: Dataset) -> Workload:
    """Return the sizes of a dataset, which need not exist yet if it is simulated.

    Raises
    ------
    InputError
        If files that it is made from cannot be read.
    """
    if isinstance(data, DatasetFiles):
        return _of_files(data)
    scan, modes = data.scan, 1
    steps = dict.fromkeys(SPLITS, scan.test_step_px) | {"train": scan.train_step_px}
    if isinstance(data.probe, FileProbe):
        shape = io.read_npz(data.probe.path, "probeGuess")["probeGuess"].shape
        modes = shape[0] if len(shape) == 3 else 1
    return Workload(
        patch_px=data.patch_px,
        channels=scan.gridsize**2,
        groups={s: data.images_per_split * data.groups_per_image(steps[s]) for s in SPLITS},
        reach_px=scan.group_offset_px if scan.gridsize == 2 else 0,
        probe_modes=modes,
    )


def _of_files(data: DatasetFiles) -> Workload:
    groups, channels, reach = {}, 1, 0
    for split in SPLITS:
        path = getattr(data, split)
        arrays, _ = io.read_npz_known(path, "diffraction", "coords_nominal")
        shape = arrays["diffraction"].shape if "diffraction" in arrays else ()
        if len(shape) != 4:
            raise InputError(f"{path}: has no array 'diffraction' of shape (n, N, N, C)")
        groups[split], channels = shape[0], shape[-1]
        if "coords_nominal" in arrays:
            reach = max(reach, int(np.ptp(arrays["coords_nominal"], axis=-1).max()))
    return Workload(patch_px=data.patch_px, channels=channels, groups=groups, reach_px=reach)


def made_up_groups(work: Workload, count: int) -> Groups:
    """Return groups of noise on torch's device in force; what they show changes no cost."""
    amplitude = torch.rand(count, work.channels, work.patch_px, work.patch_px)
    if work.channels == 1:
        return Groups(amplitude)
    places = torch.zeros(count, work.channels, 2, dtype=torch.int64)
    places[:, -1] = work.reach_px
    return Groups(amplitude, places)


def made_up_module(run: RunSettings, work: Workload) -> PtychoModule:
    """Return the module of a run on made-up data, on torch's device in force."""
    groups = made_up_groups(work, 1)
    scale = SplitScales(intensity_scale=100.0, mean_amplitude=0.5, mean_counts=3000.0)
    probe = torch.ones(work.probe_modes, work.patch_px, work.patch_px, dtype=torch.complex64)
    scales = dict.fromkeys(("train", "validation"), scale)
    data = TrainingData(train=groups, validation=groups, probe_MHW=probe, scales=scales)
    # No scale of the input is measured on tensors without values.
    training = run.training.model_copy(update={"input_scaling": "none"})
    return PtychoModule(run.model_copy(update={"training": training}), data)
