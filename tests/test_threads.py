"""The number of threads: what it must not change to the byte, and what within rounding.

Simulation: tests/simulate/test_dataset.py. Threads of linear algebra are counted when a process
starts, so each number has a process of its own; Snakemake gives a job that scores one.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.data.training import TrainingData
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule

# Larger than what OpenBLAS leaves to one thread.
JUDGED = """
import hashlib, json
from dataclasses import asdict
import numpy as np
from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.block import reconstruct, score
from ptycho_torch.evaluate.truth import GroundTruth
from ptycho_torch.evaluate.twin import read_twin
from ptycho_torch.physics.stitch import reassemble
from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics.estimates import paired_difference

random = np.random.default_rng(0)
side, size, step = 32, 160, 8
thing = (2 + random.normal(size=(1, size, size)) + 1j * random.normal(size=(1, size, size)))
places = np.arange(0, size - side + 1, step)
grid = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
row = np.arange(side) - 15.5
probe = np.exp(-(row[:, None] ** 2 + row**2) / 60 + 0.01j * row[:, None] ** 2)
image = np.zeros(len(grid), np.int64)
scene = GroundTruth(objects_IHW=thing.astype(np.complex64), positions_B2=grid, image_B=image,
              probe_MHW=probe[None].astype(np.complex64), norm=1.0, tile_px=step)
truth = scene.patches_BHW
pred = truth + random.normal(size=truth.shape).astype(np.complex64)
settings = EvaluationSettings(remove_phase_plane=True)
scores = score(reconstruct(pred, scene, settings))
twin = read_twin(pred, scene)
whole = reassemble(pred, grid, image, scene.intensity_HW, step)
found = paired_difference(random.normal(size=9), StatisticsSettings(resamples=999))
print(json.dumps({
    "scores": {**scores, **asdict(twin)},
    "bytes": [hashlib.sha256(whole.tobytes()).hexdigest(), repr(found)],
}))
"""


def judged(threads):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    done = subprocess.run(
        [sys.executable, "-c", JUDGED], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_reassembly_and_intervals_are_the_same_bytes_and_scores_to_rounding():
    """Linear algebra sums in another order on two threads: scores differ in their last digits."""
    one, two = judged(1), judged(2)
    assert one["bytes"] == two["bytes"]
    assert one["scores"] == pytest.approx(two["scores"], rel=1e-9, abs=1e-12)


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
