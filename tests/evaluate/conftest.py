"""A small test scan of known truth, for each probe, and a way to evaluate predictions on it."""

import json
from functools import cache

import numpy as np
import pytest

from ptycho_torch.config.dataset import DiskProbe, ObjectSettings, TriangleProbe
from ptycho_torch.evaluate.run import evaluate_run
from ptycho_torch.evaluate.truth import GroundTruth
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import object_patches
from ptycho_torch.simulate.dataset import make_probe
from ptycho_torch.simulate.frames import draw_objects

SIDE, SIZE, STEP = 32, 96, 5
PROBES = {
    "disk": DiskProbe(shape="disk"),
    "curved_disk": DiskProbe(shape="disk", edge_phase_rad=0.9),
    "triangle": TriangleProbe(shape="triangle"),
}


@cache
def scan(probe="triangle", images=1, set_phi=True):
    settings = ObjectSettings(size_px=SIZE, num_lines=100, set_phi=set_phi)
    objects = draw_objects(settings, images=images, seed=2)
    places = np.arange(0, SIZE - SIDE + 1, STEP)
    grid = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    positions, image = np.tile(grid, (images, 1)), np.repeat(np.arange(images), len(grid))
    patches = object_patches(objects, positions, image, SIDE)
    return GroundTruth(
        objects_IHW=objects, positions_B2=positions, image_B=image, tile_px=STEP,
        probe_MHW=make_probe(PROBES[probe], SIDE).astype(np.complex64)[None],
        norm=float(np.abs(patches).max(axis=(1, 2)).mean()),
    )  # fmt: skip


def planted_twin(scene):
    """Patches whose exit waves are the twins of the true ones; dark pixels of the probe go to 0."""
    intensity = (np.abs(scene.probe_MHW) ** 2).sum(axis=0)
    inverse = scene.probe_MHW.conj() / (intensity + 1e-3 * intensity.max())
    waves = scene.patches_BHW[:, None] * scene.probe_MHW
    return (inverse * waves[..., ::-1, ::-1].conj()).sum(axis=1).astype(np.complex64)


def write(truth, folder):
    offsets = truth.positions_B2[:, None, :, None].astype(np.float32)
    arrays = {
        "coords_offsets": offsets, "coords_nominal": np.zeros_like(offsets),
        "image_index": truth.image_B.astype(np.int32), "YY_full": truth.objects_IHW[..., None],
        "probeGuess": truth.probe_MHW[0], "norm_Y_I": np.float64(truth.norm),
    }  # fmt: skip
    io.write_npz(folder / "test.npz", arrays)
    splits = {"validation": {"constant_loss": 0.3}}
    io.write_json(folder / "dataset.json", {"test_step_px": STEP, "splits": splits})


FILES = {
    "test": "test.npz", "dataset": "dataset.json", "patches": "test_patches.npz",
    "run": "run.json", "metrics": "metrics.json", "reconstruction": "reconstruction.npz",
}  # fmt: skip


@pytest.fixture
def judge(tmp_path):
    """Evaluate predicted patches (B, H, W) of a scan; returns `metrics.json` as read back."""

    def evaluate(truth, best, *, last=None, loss=0.08, settings=None, **record):
        write(truth, tmp_path)
        weights = {"best": best, "last": best if last is None else last}
        channels = {key: value[..., None].astype(np.complex64) for key, value in weights.items()}
        io.write_npz(tmp_path / "test_patches.npz", channels)
        losses = dict.fromkeys(("best_val_loss", "last_val_loss", "best_mae_val_loss"), loss)
        run = {"dataset": "d", "arm": "a", "seed": 3, "outcome": "completed", "failure": None}
        run["dataset_sha256"] = {"test": io.sha256(tmp_path / "test.npz")}
        io.write_json(tmp_path / "run.json", {**run, **losses, **record})
        paths = {name: tmp_path / file for name, file in FILES.items()}
        evaluate_run(settings=settings or {}, **paths)
        return json.loads((tmp_path / "metrics.json").read_text())

    return evaluate
