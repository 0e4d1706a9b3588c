"""A small scan with photon noise, as a file in the layout of the real one, and its results."""

import bz2
import hashlib
import io as streams
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from filelock import FileLock
from tests.commands import ROOT, snakemake
from tests.samples import a_scan

from ptycho_torch.config.read import load_yaml, parse_study


@pytest.fixture(scope="session")
def truth():
    """A scan without noise whose probe is scaled as the counts; their `mean`, and the `counts`."""
    scan = a_scan(step=2.5, frames=(12, 12), jitter=0.8, real="f8")
    scale = 2e5 / (np.abs(scan.probe_MHW) ** 2).sum()
    mean = scan.amplitude_nHW**2 * scale
    scan = replace(
        scan, amplitude_nHW=np.sqrt(mean), probe_MHW=scan.probe_MHW * np.sqrt(scale),
        # As a file stores them: what is simulated must be what is read.
        positions_n2=scan.positions_n2.astype(np.float32).astype(float),
    )  # fmt: skip
    counts = np.random.default_rng(5).poisson(mean).astype(np.float32)
    return SimpleNamespace(scan=scan, mean=mean, counts=counts)


@pytest.fixture(scope="session")
def packed(tmp_path_factory, truth):
    """A folder with the scan's file in the layout of tike, packed; its name and checksum."""
    folder = tmp_path_factory.mktemp("data")
    probe = truth.scan.probe_MHW[0]
    # A guess: too wide a phase, in other units.
    guess = probe / 300 * np.exp(0.3j * np.abs(probe) / np.abs(probe).max())
    stream = streams.BytesIO()
    np.savez(
        stream, data=np.fft.ifftshift(truth.counts, axes=(-2, -1))[None],
        scan=truth.scan.positions_n2.astype(np.float32)[None],
        probe=guess.astype(np.complex64)[None, None, None, None],
    )  # fmt: skip
    content = bz2.compress(stream.getvalue())
    (folder / "small.npz.bz2").write_bytes(content)
    return SimpleNamespace(folder=folder, sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture(scope="session")
def real_study(packed):
    """The tiny study with the small scan as its real data, as plain data."""
    study = load_yaml(ROOT / "tests" / "tiny.yaml")
    study["real_data"] = {
        "measurements": {"small": {
            "about": "a scan with photon noise, made by a test",
            "address": "http://127.0.0.1:9/small.npz.bz2", "sha256": packed.sha256,
            "file": "small.npz.bz2", "reading": {"patch_px": 16},
        }},
        "arms": ["control"],
        "seeds": [3],
        "training": {"epochs": 2},
        "held_out": {"rows": [0.05, 0.2], "columns": [0.1, 0.4]},
        "rpie": {"iterations": 20, "batch_size": 8, "refine_probe": True, "probe_scale": "frames"},
    }  # fmt: skip
    return study


@pytest.fixture(scope="session")
def results(shared, real_study, packed):
    """The summary of measurements as a user makes it, once for all test processes.

    Returns `folder`, its results; the parsed `study`; and `again`, to call the same command with
    more words.
    """
    place, done = shared / "real", shared / "real.done"
    words = ("real_data_summary", "--configfile", place / "study.yaml", "--cores", "2")
    again = partial(snakemake, place, *words, PTYCHO_DATA=str(packed.folder))
    with FileLock(shared / "real.lock"):
        if not done.exists():
            place.mkdir()
            (place / "study.yaml").write_text(yaml.safe_dump(real_study))
            again()
            done.touch()
    study = parse_study(real_study, "test")
    return SimpleNamespace(folder=place / "results/real_data", study=study, again=again)


@pytest.fixture
def real_file(unavailable):
    """The real file; tests of it say by name where it is missing."""
    path = Path(os.environ.get("PTYCHO_DATA") or "/nowhere") / "siemens-star-small.npz.bz2"
    if not path.exists():
        unavailable("data", f"PTYCHO_DATA is no folder with {path.name}")
    return path
