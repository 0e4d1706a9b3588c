"""Training on several threads; simulation: tests/simulate/test_dataset.py."""

from dataclasses import replace

import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.data.training import TrainingData
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule


def few(split, groups=16):
    """Two steps: threads that wait for a busy machine's cores cost more than their work."""
    every = len(split.arrays["diffraction"])
    arrays = {k: v[:groups] if v.ndim and len(v) == every else v for k, v in split.arrays.items()}
    return replace(split, arrays=arrays)


def test_training_on_two_threads_differs_by_rounding_alone(tiny_study, tiny_dataset):
    """Sums in another order: 1e-4 of the loss after an epoch; each number repeats itself."""
    run = run_settings(tiny_study, "tiny", "control", 0).model_dump()
    run["training"]["epochs"] = 1
    splits = {
        split: few(read_split(tiny_dataset.splits[split], patch_px=16))
        for split in ("train", "validation")
    }
    data = TrainingData.of_splits(splits)
    before, losses = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            module = PtychoModule(RunSettings.model_validate(run), data)
            fit(module, data.train, data.validation)
            losses.append(module.history.rows[-1]["mae_val_loss"])
    finally:
        torch.set_num_threads(before)
    one, two, again = losses
    assert two == again
    assert one == pytest.approx(two, rel=1e-4)
