"""Simulating one whole dataset, against a plain loop over its patches in NumPy: `make bench`.

The full protocol's dataset with one image a split: 6889 + 2 x 1089 patches of 64 px, photon noise.
The plain loop does patch by patch what docs/physics.md says, in complex128, and writes no files.
"""

import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import Goal, command, ratio, seconds, summary, take_turns, times

from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.markdown import number, table
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset, simulate_split
from ptycho_torch.simulate.frames import diffract, draw_scene
from ptycho_torch.simulate.noise import count_photons
from ptycho_torch.simulate.objects import draw_objects
from ptycho_torch.simulate.probes import make_probe
from ptycho_torch.simulate.scan import raster

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 3.0
OURS, ALONE, PLAIN = "simulate_dataset", "simulate_dataset, one thread", "plain loop"
DRAWS = "its photon counts alone, one thread"


def full_dataset() -> SimulatedDataset:
    """Return the full protocol's dataset with one image a split."""
    study = parse_study(load_yaml(ROOT / "config" / "full.yaml"), "full.yaml")
    settings = study.datasets[study.stage_a.dataset]
    assert isinstance(settings, SimulatedDataset)
    return settings.model_copy(update={"images_per_split": 1})


def plain_dataset(settings: SimulatedDataset) -> dict[str, np.ndarray]:
    """Return the measured amplitudes of each split, (n, H, W); one image, gridsize 1."""
    probe = make_probe(settings.probe, settings.patch_px)
    scale, found = 0.0, {}
    for split in SPLITS:
        image = draw_objects(settings.object, images=1, seed=getattr(settings.seeds, split))[0]
        step = settings.scan.train_step_px if split == "train" else settings.scan.test_step_px
        places = raster(
            settings.scan, size_px=image.shape[0], patch_px=settings.patch_px, step_px=step
        ).corners_n2
        patches = [image[r : r + len(probe), c : c + len(probe)] for r, c in places]
        norm = np.mean([np.abs(patch).max() for patch in patches])
        waves = [patch / norm * probe for patch in patches]
        if split == "train":
            power = np.mean([np.sum(np.abs(wave) ** 2) for wave in waves])
            scale = np.sqrt(settings.photons / power)
        stream = named_stream(settings.seeds.noise, "noise", split)
        frames = []
        for wave in waves:
            amplitude = np.abs(np.fft.fftshift(np.fft.fft2(wave, norm="ortho")))
            if settings.noise == "poisson":
                amplitude = np.sqrt(stream.poisson((scale * amplitude) ** 2)) / scale
            frames.append(amplitude.astype(np.float32))
        found[split] = np.stack(frames)
    return found


def measure(rounds: int = 5, settings: SimulatedDataset | None = None) -> dict[str, Any]:
    """Return seconds and patches a second of both, in turns."""
    settings = settings or full_dataset()
    threads = usable_threads(os.cpu_count() or 1)
    probe = make_probe(settings.probe, settings.patch_px).astype(np.complex64)
    scale = simulate_split(settings, "train", probe).intensity_scale
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def ours(threads: int) -> None:
            simulate_dataset(
                settings,
                name="dataset",
                splits={split: folder / f"{split}.npz" for split in SPLITS},
                summary=folder / "dataset.json",
                threads=threads,
            )

        def draws() -> None:
            for split, frames in clean.items():
                count_photons(frames, scale, partial(named_stream, 0, split))

        clean = {
            s: diffract(draw_scene(settings, s), torch.from_numpy(probe[None])) for s in SPLITS
        }
        programs = {
            OURS: lambda: ours(threads),
            ALONE: lambda: ours(1),
            PLAIN: lambda: plain_dataset(settings),
            DRAWS: draws,
        }
        taken = take_turns(programs, rounds=rounds, warmups=1)
        size = sum(file.stat().st_size for file in folder.iterdir())
    return {
        "patches": sum(len(frames) for frames in plain_dataset(settings).values()),
        "patch_px": settings.patch_px,
        "threads": threads,
        "file_bytes": size,
        "seconds": summary(taken),
        "ratios": {name: ratio(taken, PLAIN, name) for name in (OURS, ALONE)},
    }


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per program."""
    rows = []
    for name, taken in result["seconds"].items():
        against = times(result["ratios"][name]) if name in result["ratios"] else ""
        a_second = number(result["patches"] / taken["median_s"])
        label = f"{name}, {result['threads']} threads" if name == OURS else name
        rows.append([label, seconds(taken), a_second, against])
    header = ["program", "whole dataset", "patches a second", "times the plain loop"]
    said = (
        f"{result['patches']:,} patches of {result['patch_px']} px in three splits; ours writes "
        f"its files too ({number(result['file_bytes'] / 1e6)} MB, each read again for its "
        "checksum), without the start of Python and torch; the plain loop writes none."
    )
    return f"{table(header, rows)}\n\n{said}"


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goal for one full dataset."""
    took = result["seconds"][OURS]["median_s"]
    asked = f"under {number(LIMIT_S, 1)} s"
    return [Goal("simulation of one full dataset", asked, f"{number(took)} s", took < LIMIT_S)]


if __name__ == "__main__":
    command("simulation", measure, tables)
