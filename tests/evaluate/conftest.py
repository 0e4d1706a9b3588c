"""A small test scan of known truth, for each probe, and a way to evaluate predictions on it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_torch.config.dataset import DiskProbe, ObjectSettings, TriangleProbe
from ptycho_torch.evaluate.run import evaluate_run
from ptycho_torch.files import io
from ptycho_torch.simulate.objects import draw_objects
from ptycho_torch.simulate.probes import make_probe

# What stands beside this file is found by its name.
sys.path.insert(0, str(Path(__file__).parent))

SIDE, SIZE, STEP = 32, 96, 5
PROBES = {
    "disk": DiskProbe(shape="disk"),
    "curved_disk": DiskProbe(shape="disk", edge_phase_rad=0.9),
    "triangle": TriangleProbe(shape="triangle"),
}


@dataclass(frozen=True)
class Scan:
    """Truth of a test scan: objects (I, H, W), patches (B, H, W) over `norm`, probe (M, H, W)."""

    objects: np.ndarray
    patches: np.ndarray
    positions: np.ndarray
    image: np.ndarray
    probe: np.ndarray
    norm: float

    def write(self, folder: Path) -> None:
        offsets = self.positions[:, None, :, None].astype(np.float32)
        arrays = {
            "coords_offsets": offsets,
            "coords_nominal": np.zeros_like(offsets),
            "image_index": self.image.astype(np.int32),
            "YY_full": self.objects[..., None],
            "probeGuess": self.probe[0] if len(self.probe) == 1 else self.probe,
            "norm_Y_I": np.float64(self.norm),
        }
        io.write_npz(folder / "test.npz", arrays)
        io.write_json(folder / "dataset.json", {"test_step_px": STEP})


@cache
def build(probe: str, images: int, set_phi: bool) -> Scan:
    settings = ObjectSettings(size_px=SIZE, num_lines=100, set_phi=set_phi)
    objects = draw_objects(settings, images=images, seed=2)
    places = np.arange(0, SIZE - SIDE + 1, STEP)
    grid = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    patches = np.stack([o[r : r + SIDE, c : c + SIDE] for o in objects for r, c in grid])
    norm = float(np.abs(patches).max(axis=(1, 2)).mean())
    return Scan(
        objects=objects,
        patches=patches / np.float32(norm),
        positions=np.tile(grid, (images, 1)),
        image=np.repeat(np.arange(images), len(grid)),
        probe=make_probe(PROBES[probe], SIDE).astype(np.complex64)[None],
        norm=norm,
    )


@pytest.fixture(scope="session")
def scan() -> Callable[..., Scan]:
    def make(probe: str = "triangle", *, images: int = 1, set_phi: bool = True) -> Scan:
        return build(probe, images, set_phi)

    return make


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Evaluate predicted patches (B, H, W) of a scan; returns `metrics.json` as read back."""

    def evaluate(
        scan: Scan, best: np.ndarray, *, last: np.ndarray | None = None,
        loss: float | None = 0.08, settings: dict[str, Any] | None = None, **record: Any,
    ) -> dict[str, Any]:  # fmt: skip
        scan.write(tmp_path)
        weights = {"best": best, "last": best if last is None else last}
        channels = {key: value[..., None].astype(np.complex64) for key, value in weights.items()}
        io.write_npz(tmp_path / "test_patches.npz", channels)
        losses = dict.fromkeys(("best_val_loss", "last_val_loss", "best_mae_val_loss"), loss)
        run = {"dataset": "d", "arm": "a", "seed": 3, "outcome": "completed", "failure": None}
        io.write_json(tmp_path / "run.json", {**run, **losses, **record})
        evaluate_run(
            test=tmp_path / "test.npz",
            dataset=tmp_path / "dataset.json",
            patches=tmp_path / "test_patches.npz",
            run=tmp_path / "run.json",
            settings=settings or {},
            metrics=tmp_path / "metrics.json",
            reconstruction=tmp_path / "reconstruction.npz",
        )
        metrics: dict[str, Any] = json.loads((tmp_path / "metrics.json").read_text())
        return metrics

    return evaluate
