"""The rules of the diagnoses: their scripts lead from runs to the decision."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.plan import untrained_networks
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.files import io
from ptycho_torch.train.run import train_run

REPORTS = {"gradients": "gradient_report.json", "activations": "activation_report.json"}


def test_fresh_networks_are_each_there_once(tiny_study):
    """`agc` is `control` before its first step; both have another depth than those compared."""
    assert list(untrained_networks(tiny_study)) == [
        "hybrid-4", "stable_hybrid-4", "layerscale_hybrid-4",
        "hybrid-8", "stable_hybrid-8", "layerscale_hybrid-8", "control",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_dataset):
    """Three runs: one as trained, one that failed, and one that failed with weights of NaN."""
    study = parse_study(load_yaml("tests/tiny.yaml"), "tiny.yaml")
    root = tmp_path_factory.mktemp("runs")
    data = {"splits": tiny_dataset.splits, "dataset": tiny_dataset.dataset}
    train_run(run_settings(study, "tiny", "control", 0), folder=root / "good", threads=1, **data)
    record = io.read_json(root / "good/run.json")
    for name, seed in (("failed", 1), ("lost", 2)):
        shutil.copytree(root / "good", root / name)
        settings = record["settings"] | {"seed": seed}
        changed = record | {"seed": seed, "settings": settings, "outcome": "non_finite"}
        io.write_json(root / name / "run.json", changed)
    tensors = io.read_tensors(root / "lost/last.safetensors")
    io.write_tensors(root / "lost/last.safetensors", {k: v * torch.nan for k, v in tensors.items()})
    return [root / name for name in ("good", "failed", "lost")]


@pytest.fixture
def diagnose(run_script, tiny_dataset):
    """Run a script of the diagnoses; torch's number of threads is put back."""
    data = {"train": tiny_dataset.splits["train"], "dataset": tiny_dataset.dataset}

    def run(name, output, *, runs=(), **params):
        inputs = data | ({"runs": [run / "run.json" for run in runs]} if runs else {})
        threads = torch.get_num_threads()
        try:
            run_script(name, input=inputs, output=output, params=params)
        finally:
            torch.set_num_threads(threads)

    return run


def test_the_scripts_lead_from_runs_to_a_decision(diagnose, run_script, runs, tmp_path):
    block = {"groups": 4, "seeds": 2, "depths": [2, 3]}
    study = parse_study(load_yaml("tests/tiny.yaml") | {"diagnostics": block}, "tiny.yaml")
    settings = study.diagnostics.model_dump(mode="json")
    networks = {k: v.model_dump(mode="json") for k, v in untrained_networks(study).items()}
    fresh, trained = (
        {key: f"{kind}/{name}" for key, name in REPORTS.items()} for kind in ("fresh", "trained")
    )
    outputs = fresh | {"units": "units.json"}
    diagnose("diagnose_fresh.py", outputs, networks=networks, settings=settings)
    diagnose("diagnose_runs.py", trained, runs=runs, settings=settings)
    run_script(
        "diagnostics.py",
        input={
            **{key: [tmp_path / fresh[key], tmp_path / trained[key]] for key in REPORTS},
            "units": [tmp_path / "units.json"],
            "runs": [run / "run.json" for run in runs],
            "histories": [run / "history.csv" for run in runs],
        },
        output={"prose": "decision.md"},
        params={"study": study.model_dump(mode="json"), "command": "snakemake diagnostics"},
    )

    # Three generators at two depths, two seeds; `hybrid` also as it was drawn before.
    assert len(io.read_json(tmp_path / fresh["gradients"])["networks"]) == (6 + 2) * 2
    entries = io.read_json(tmp_path / trained["gradients"])["networks"]
    found = {(e["network"]["seed"], e["network"]["state"]): e for e in entries}
    assert set(found) == {(0, "best"), (1, "best"), (1, "last"), (2, "best"), (2, "last")}
    assert "hold NaN" in found[2, "last"]["unusable"]
    assert found[1, "last"]["unusable"] is None and found[1, "last"]["spectral_grad_mean"] > 0
    # The same weights, looked at twice, have the same numbers.
    ratios = [found[seed, "best"]["spectral_local_ratio"] for seed in (0, 1)]
    assert np.isclose(*ratios, rtol=1e-5)
    decision = io.read_json(tmp_path / "decision.json")
    # Two seeds show nothing, three neither.
    assert [h["verdict"] for h in decision["hypotheses"]][:2] == ["undecided", "does not hold"]
    assert decision["drift"]["verdict"] == "undecided" and decision["drift"]["largest_update"] == 0
    assert len(decision["initialisations"]) == 4 and len(decision["failed"]) == 4
    text = (tmp_path / "decision.md").read_text()
    for figure in re.findall(r"\]\((\S+\.png)\)", text):
        for suffix in (".png", ".svg"):
            assert (tmp_path / figure).with_suffix(suffix).stat().st_size > 5000
    assert "2 weight seeds, 3 trained runs" in text and "hold NaN or infinity" in text


def damage_weights(run: Path):
    weights = run / "bundle/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")


def replace_run(run: Path):
    io.write_json(run / "run.json", {"winner": "agc", "arms": ["control", "agc"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Weights that changed on disk are trouble with the machine, not a result of the run.
        (damage_weights, "weights.safetensors: SHA-256 is"),
        (replace_run, "run.json: lacks 'dataset'; another version wrote it"),
    ],
)
def test_a_damaged_run_fails_its_job_with_one_line(diagnose, runs, tmp_path, change, message):
    run = shutil.copytree(runs[0], tmp_path / "run")
    change(run)
    with pytest.raises(SystemExit):
        diagnose("diagnose_runs.py", REPORTS, runs=[run], settings={})
    assert not (tmp_path / REPORTS["gradients"]).exists()
    log = (tmp_path / "log.txt").read_text()
    assert message in log and "Traceback" not in log
