"""The rules of the diagnoses; what they lead to is among the results of the tiny study."""

import shutil

import numpy as np
import pytest
import torch

from ptycho_torch.config.plan import untrained_networks
from ptycho_torch.files import io

REPORTS = {"gradients": "gradient_report.json", "activations": "activation_report.json"}


def test_fresh_networks_are_each_there_once(tiny_study):
    """`agc` is `control` before its first step; both have another depth than those compared."""
    assert list(untrained_networks(tiny_study)) == [
        "hybrid-4", "stable_hybrid-4", "layerscale_hybrid-4",
        "hybrid-8", "stable_hybrid-8", "layerscale_hybrid-8", "control",
    ]  # fmt: skip


@pytest.fixture
def runs(plain, tmp_path):
    """Three runs: one as trained, one that failed, and one that failed with weights of NaN."""
    folders = [plain.folder]
    for seed, name in ((1, "failed"), (2, "lost")):
        folders.append(shutil.copytree(plain.folder, tmp_path / name))
        settings = plain.run["settings"] | {"seed": seed}
        changed = plain.run | {"seed": seed, "settings": settings, "outcome": "non_finite"}
        io.write_json(tmp_path / name / "run.json", changed)
    tensors = io.read_tensors(tmp_path / "lost/last.safetensors")
    lost = {name: tensor * torch.nan for name, tensor in tensors.items()}
    io.write_tensors(tmp_path / "lost/last.safetensors", lost)
    return folders


@pytest.fixture
def diagnose(run_script, tiny_dataset):
    """Run the script that looks at trained runs; torch's number of threads is put back."""
    data = {"train": tiny_dataset.splits["train"], "dataset": tiny_dataset.dataset}

    def run(runs):
        inputs = data | {"runs": [run / "run.json" for run in runs]}
        threads = torch.get_num_threads()
        job = {"input": inputs, "output": REPORTS, "params": {"settings": {"groups": 4}}}
        try:
            run_script("diagnose_runs.py", **job)
        finally:
            torch.set_num_threads(threads)

    return run


def test_failed_runs_are_looked_at_as_they_ended_too(diagnose, runs, tmp_path):
    diagnose(runs)
    entries = io.read_json(tmp_path / REPORTS["gradients"])["networks"]
    found = {(e["network"]["seed"], e["network"]["state"]): e for e in entries}
    assert set(found) == {(0, "best"), (1, "best"), (1, "last"), (2, "best"), (2, "last")}
    assert "hold NaN" in found[2, "last"]["unusable"]
    assert found[1, "last"]["unusable"] is None and found[1, "last"]["spectral_grad_mean"] > 0
    # The same weights, looked at twice, have the same numbers.
    ratios = [found[seed, "best"]["spectral_local_ratio"] for seed in (0, 1)]
    assert np.isclose(*ratios, rtol=1e-5)
