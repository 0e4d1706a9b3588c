"""Settings of datasets and probes: what of a simulated split, or of files, each one changes.

A flip is a function of `tools`; it raises unless it sees the effect.
"""

import hashlib
import json

import numpy as np
import pytest

from ptycho_torch.config.dataset import DatasetFiles, SimulatedDataset
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import SPLITS, simulate_split
from ptycho_torch.simulate.files import import_dataset
from ptycho_torch.simulate.probes import make_probe

BASE = {
    "source": "simulated",
    "patch_px": 16,
    "photons": 1e4,
    "object": {"size_px": 28, "num_lines": 30, "set_phi": True},
    "probe": {"shape": "triangle"},
    "scan": {"train_step_px": 4, "test_step_px": 3},
    "seeds": {"train": 1, "test": 2, "validation": 3, "noise": 0},
}
ALL = set(SPLITS)


def digests(changes=(), base=BASE):
    """Return a checksum of each split's arrays, less the settings that are written beside them."""
    settings = json.loads(json.dumps(base))
    for key, value in changes:
        *blocks, last = key.split(".")
        block = settings
        for name in blocks:
            block = block[name]
        block[last] = value
    study = SimulatedDataset.model_validate(settings)
    probe = make_probe(study.probe, study.patch_px)
    found = {}
    for split in SPLITS:
        arrays = simulate_split(study, split, probe).arrays
        text = [(k, v.shape, v.tobytes()) for k, v in sorted(arrays.items()) if k != "_metadata"]
        found[split] = hashlib.sha256(repr(text).encode()).hexdigest()
    return found


def changes(key, value, splits=ALL, base=()):
    """Return a flip that must change these splits and leave the others."""

    def flip(tools):
        before, after = digests(base), digests((*base, (key, value)))
        assert {split for split in SPLITS if before[split] != after[split]} == splits

    return flip


def probe_file(key, values):
    """Return a flip of a probe from a file: another value, another probe or another refusal."""

    def flip(tools):
        row = np.arange(20) - 9.5
        probe = np.exp(-(row[:, None] ** 2 + row**2) / 30) * np.exp(0.01j * row**2)
        for number in (0, 1):
            io.write_npz(
                tools.folder / f"probe{number}.npz", {"probeGuess": probe * (1 + number * row)}
            )
        made = []
        for value in values:
            settings = {"shape": "file", "path": "probe0.npz", "resize": "interpolate", key: value}
            settings["path"] = str(tools.folder / settings["path"])
            study = SimulatedDataset.model_validate({**BASE, "probe": settings})
            try:
                made.append(make_probe(study.probe, 24).tobytes())
            except InputError as error:
                made.append(str(error))
        assert len(set(made)) == len(values)

    return flip


def taken_in(tools, **changed):
    """Return what becomes of three files: the summary, or the refusal."""
    splits = {}
    for split in SPLITS:
        arrays = io.read_npz(tools.dataset.splits[split])
        if changed.pop(f"without_{split}", None):
            arrays = {k: v for k, v in arrays.items() if k != "intensity_scale"}
        splits[split] = str(tools.folder / f"given-{split}.npz")
        io.write_npz(splits[split], arrays)
    if swapped := changed.pop("swapped", None):
        splits[swapped] = splits["test" if swapped == "train" else "train"]
    settings = {"source": "files", "patch_px": 16, "test_step_px": 4, **splits, **changed}
    outputs = {split: tools.folder / f"taken-{split}.npz" for split in SPLITS}
    summary = tools.folder / "taken.json"
    try:
        study = DatasetFiles.model_validate(settings)
        import_dataset(study, name="d", splits=outputs, summary=summary)
    except (InputError, ValueError) as error:
        return str(error)
    facts = io.read_json(summary)
    facts.pop("settings", None)
    return json.dumps(facts) + "".join(io.sha256(path) for path in outputs.values())


def of_files(base=(), **changed):
    def flip(tools):
        assert taken_in(tools, **dict(base)) != taken_in(tools, **dict(base), **changed)

    return flip


NO_SCALE = tuple((f"without_{split}", True) for split in SPLITS)
GROUPS = (("scan.gridsize", 2),)
DISK = (("probe", {"shape": "disk"}),)

FLIPS = {
    "ObjectSettings.size_px": changes("object.size_px", 31),
    "ObjectSettings.num_lines": changes("object.num_lines", 31),
    "ObjectSettings.set_phi": changes("object.set_phi", False),
    "ObjectSettings.phase": changes("object.phase", "independent"),
    "ProbeSettings.smoothing_sigma_px": changes("probe.smoothing_sigma_px", 1.0),
    "TriangleProbe.shape": changes("probe", {"shape": "disk"}),
    "TriangleProbe.circumradius": changes("probe.circumradius", 0.4),
    "TriangleProbe.edge_phase_rad": changes("probe.edge_phase_rad", 1.0),
    "DiskProbe.shape": changes("probe", {"shape": "triangle"}, base=DISK),
    "DiskProbe.edge_phase_rad": changes("probe.edge_phase_rad", 1.0, base=DISK),
    "FileProbe.shape": probe_file("path", ["probe0.npz", "probe1.npz"]),
    "FileProbe.path": probe_file("path", ["probe0.npz", "probe1.npz"]),
    "FileProbe.resize": probe_file("resize", ["refuse", "pad", "interpolate", "pad_extrapolate"]),
    "ScanSettings.gridsize": changes("scan.gridsize", 2),
    "ScanSettings.train_step_px": changes("scan.train_step_px", 3, {"train"}),
    "ScanSettings.test_step_px": changes("scan.test_step_px", 4, {"test", "validation"}),
    "ScanSettings.group_offset_px": changes("scan.group_offset_px", 3, base=GROUPS),
    "SplitSeeds.train": changes("seeds.train", 11, {"train"}),
    "SplitSeeds.test": changes("seeds.test", 11, {"test"}),
    "SplitSeeds.validation": changes("seeds.validation", 11, {"validation"}),
    "SplitSeeds.noise": changes("seeds.noise", 11),
    "SimulatedDataset.source": of_files(),
    "SimulatedDataset.patch_px": changes("patch_px", 12),
    "SimulatedDataset.images_per_split": changes("images_per_split", 2),
    "SimulatedDataset.photons": changes("photons", 1e5),
    "SimulatedDataset.noise": changes("noise", "none"),
    "DatasetFiles.patch_px": of_files(patch_px=8),
    "DatasetFiles.train": of_files(swapped="train"),
    "DatasetFiles.validation": of_files(swapped="validation"),
    "DatasetFiles.test": of_files(swapped="test"),
    "DatasetFiles.test_step_px": of_files(test_step_px=3),
    "DatasetFiles.photons": of_files(NO_SCALE, photons=1e6),
    "DatasetFiles.sha256": of_files(sha256={"train": "0" * 64}),
}


def reads(settings, message):
    with pytest.raises(ValueError, match=message):
        SimulatedDataset.model_validate(settings)


FLIPS["DatasetFiles.source"] = lambda tools: reads({**BASE, "source": "files"}, "files|source")
FLIPS["SimulatedDataset.source"] = FLIPS["DatasetFiles.source"]
