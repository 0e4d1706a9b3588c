"""A small scan with photon noise, as a file in the layout of the real one, and its results."""

import bz2
import hashlib
import io as streams
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.reconstruct.scans import make_scan

from ptycho_torch.config.read import load_yaml, parse_study

ROOT = Path(__file__).resolve().parents[2]
N, SIDE = 16, 12
PARTS = ("train", "half_a", "half_b", "held_out")
REAL_FILE = "siemens-star-small.npz.bz2"
NO_FOLDER = (
    f"PTYCHO_DATA is not set to a folder with {REAL_FILE}: nothing is tested on the real file"
)


def make_measurement(photons=2e5):
    """Counts at jittered positions of a rough object; the probe's scale is that of the counts."""
    scan = make_scan(side=N, step=2.5, frames=SIDE, jitter=0.8)
    scale = photons / (np.abs(scan.probe) ** 2).sum()
    # As a file stores them: what is simulated must be what is read.
    places = scan.positions.astype(np.float32).astype(float)
    probe, mean = scan.probe * np.sqrt(scale), scan.amplitude**2 * scale
    counts = np.random.default_rng(5).poisson(mean).astype(np.float32)
    return SimpleNamespace(
        object=scan.object, probe=probe, positions=places, mean=mean, counts=counts
    )


@pytest.fixture(scope="session")
def truth():
    return make_measurement()


@pytest.fixture(scope="session")
def packed(tmp_path_factory, truth):
    """A folder with the scan's file in the layout of tike, packed; its name and checksum."""
    folder = tmp_path_factory.mktemp("data")
    # A guess: too wide a phase, in other units.
    guess = truth.probe / 300 * np.exp(0.3j * np.abs(truth.probe) / np.abs(truth.probe).max())
    stream = streams.BytesIO()
    np.savez(
        stream,
        data=np.fft.ifftshift(truth.counts, axes=(-2, -1))[None],
        scan=truth.positions.astype(np.float32)[None],
        probe=guess.astype(np.complex64)[None, None, None],
    )
    content = bz2.compress(stream.getvalue())
    (folder / "small.npz.bz2").write_bytes(content)
    return SimpleNamespace(
        folder=folder,
        file="small.npz.bz2",
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture(scope="session")
def real_study(packed):
    """The tiny study with the small scan as its real data, as plain data."""
    study = load_yaml(ROOT / "tests" / "tiny.yaml")
    study["real_data"] = {
        "measurements": {
            "small": {
                "about": "a scan with photon noise, made by a test",
                "address": "http://127.0.0.1:9/small.npz.bz2",
                "sha256": packed.sha256,
                "file": packed.file,
                "reading": {"patch_px": N},
            }
        },
        "arms": ["control"],
        "seeds": [3],
        "training": {"epochs": 2},
        "held_out": {"rows": [0.05, 0.2], "columns": [0.1, 0.4], "gap_px": 2.6},
        "rpie": {
            "iterations": 20,
            "batch_size": 8,
            "refine_probe": True,
            "probe_scale": "frames",
        },
    }
    return study


class Places(SimpleNamespace):
    """Named files, which can be gone through as Snakemake's."""

    def __iter__(self):
        return iter(vars(self).values())


def run_job(name, **job):
    """Run a rule script as Snakemake would, with a stand-in for its job."""
    folder = job.pop("folder")
    places = {
        side: Places(**{k: str(folder / v) for k, v in job.pop(side, {}).items()})
        for side in ("input", "output")
    }
    fake = SimpleNamespace(
        **places, params=SimpleNamespace(**job.pop("params", {})), threads=1,
        log=[str(folder / "log.txt")],
    )  # fmt: skip
    path = ROOT / "workflow" / "scripts" / name
    runpy.run_path(str(path), init_globals={"snakemake": fake}, run_name="__main__")


@pytest.fixture(scope="session")
def results(tmp_path_factory, real_study, packed):
    """The results of every script of the chain, run in process; the parsed study."""
    from ptycho_torch.config.arms import fit_settings

    folder = tmp_path_factory.mktemp("real")
    study = parse_study(real_study, "test")
    real = study.real_data
    frames = {part: f"small/frames/{part}.npz" for part in PARTS}
    rpie = {"objects": "small/rpie/objects.npz", "report": "small/rpie/report.json"}
    measurement = real.measurements["small"].model_dump(mode="json")
    net, run = "small/control/seed-3", "small/train/control/seed-3"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTYCHO_DATA", str(packed.folder))
        run_job("real_data_fetch.py", folder=folder, params={"measurement": measurement},
                output={"measured": "small/measured", "source": "small/source.json"})  # fmt: skip
    region = real.held_out.model_dump(mode="json")
    run_job("real_data_split.py", folder=folder, input={"measured": "small/measured"},
            params={"measurement": measurement, "region": region},
            output={**frames, "split": "small/split.json"})  # fmt: skip
    run_job("real_data_rpie.py", folder=folder, input=frames, output=rpie,
            params={"settings": real.rpie.model_dump(mode="json")})  # fmt: skip
    fit = fit_settings(study, "small", "control", 3).model_dump(mode="json")
    run_job("real_data_train.py", folder=folder, input={"frames": frames["train"], **rpie},
            params={"fit": fit, "probe": "refined"}, output={"run": f"{run}/run.json"})  # fmt: skip
    seen = {"objects": f"{net}/objects.npz", "report": f"{net}/report.json"}
    run_job("real_data_infer.py", folder=folder, input={"run": f"{run}/run.json", **frames},
            output=seen)  # fmt: skip
    for what in (rpie, seen):
        place = Path(what["report"]).parent
        run_job("real_data_evaluate.py", folder=folder,
                input={**what, "rpie_objects": rpie["objects"], "rpie_report": rpie["report"],
                       **frames},
                params={"scores": real.scores.model_dump(mode="json"), "same_probe": True},
                output={"metrics": f"{place}/metrics.json", "curves": f"{place}/curves.npz"},
                )  # fmt: skip
    return SimpleNamespace(folder=folder, study=study)


@pytest.fixture
def real_file():
    """The real file; tests of it say by name where it is missing."""
    folder = os.environ.get("PTYCHO_DATA")
    path = Path(folder or ".") / REAL_FILE
    if not folder or not path.exists():
        pytest.skip(NO_FOLDER)
    return path
